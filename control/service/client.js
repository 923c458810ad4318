// A client of streamer's API for pages and for node, without dependencies:
//
//   import { connect } from "/api/v1/client.js";
//   const api = await connect("https://streamer.example.org", { credential: token });
//   await api.jobs.start({ job: "visits" });
//   for await (const line of api.deadletters.redrive({ job: "visits" })) console.log(line.progress);
//
// The services and their methods are those that the instance has (GET /api/v1/services). Methods whose name has a hyphen are there in
// camel case too: deliveries["give-up"] is deliveries.giveUp.

// Problem is what the API answers that could not do what it was asked for (RFC 9457), with the argument it is about and what to do.
export class Problem extends Error {
  constructor(document) {
    const { field, detail, mend, title } = document;
    super((field ? `${field}: ` : "") + (detail || title) + (mend ? `; ${mend}` : ""));
    this.name = "Problem";
    this.title = title;
    this.status = document.status;
    this.field = field;
    this.detail = detail;
    this.mend = mend;
    // errors are all that is wrong with the arguments: field, detail, mend of each.
    this.errors = document.errors ?? (field ? [{ field, detail, mend }] : []);
  }
}

// connect asks the instance at url (empty: the one that this page is from) for its services. credential is a token, or { name, password };
// without one, a page sends what the browser has. A method takes its arguments and { signal } to give up.
export async function connect(url = "", { credential, signal } = {}) {
  const base = url.replace(/\/+$/, "") + "/api/v1/services";
  const headers = authorization(credential);
  const list = await answer(await fetch(base, { headers, signal }));
  const api = {};
  for (const service of list.services) {
    api[service.name] = {};
    for (const method of service.methods) {
      const path = `${base}/${service.name}/${method.name}`;
      const send = (args = {}, { signal } = {}) =>
        fetch(path, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(args), signal });
      const call = method.stream
        ? (args, options) => lines(() => send(args, options))
        : async (args, options) => answer(await send(args, options));
      api[service.name][method.name] = call;
      api[service.name][method.name.replace(/-(.)/g, (_, letter) => letter.toUpperCase())] = call;
    }
  }
  return api;
}

function authorization(credential) {
  if (credential === undefined || credential === null) return {};
  if (typeof credential === "string") return { Authorization: `Bearer ${credential}` };
  const bytes = new TextEncoder().encode(`${credential.name}:${credential.password}`);
  return { Authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
}

// refused gives the error of an answer that is no success.
async function refused(response) {
  const kind = response.headers.get("Content-Type") ?? "";
  if (kind.startsWith("application/problem+json")) return new Problem(await response.json());
  return new Error(`${response.status} ${response.statusText}, which is no answer of streamer's API`);
}

async function answer(response) {
  if (!response.ok) throw await refused(response);
  return response.status === 204 ? undefined : response.json();
}

// lines gives the JSON values of a stream, one by one. To leave the loop ends the call.
async function* lines(send) {
  const response = await send();
  if (!response.ok) throw await refused(response);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const parts = rest.split("\n");
      rest = parts.pop();
      for (const text of parts) {
        const line = JSON.parse(text);
        if (line.problem?.title) throw new Problem(line.problem);
        yield line;
      }
      if (done) {
        if (rest) throw new Error("the answer was cut off");
        return;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
