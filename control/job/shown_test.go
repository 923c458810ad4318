package job

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"streamer/control/secret/secrettest"
	"streamer/sink"
)

// requestHeaders are headers of requests that stand deeper than the keys say: those of steps are the mapping's to know.
var requestHeaders = []string{"steps.read_or_create.read.headers", "steps.read_or_create.create.headers", "steps.read_or_create.update.headers"}

// parts are where the keys of an object stand, by their path among all keys: a login may stand in a route and in a step too.
func parts(document map[string][]key, at string) []string {
	switch {
	case strings.HasPrefix(at, "auth") && document[""][0].name == "id":
		return []string{at, "routes." + at, "steps." + at}
	}
	return []string{at}
}

// secretFields are the fields of a document that hold secrets, by what is known of its keys; headers by their objects. plainly are the others.
func secretFields(document map[string][]key) (secret, headers, plainly []string) {
	names := func(path string) []string {
		return strings.FieldsFunc(path, func(r rune) bool { return r == '.' })
	}
	for object, known := range document {
		for _, at := range parts(document, object) {
			for _, k := range known {
				path := strings.TrimPrefix(at+"."+k.name, ".")
				if _, more := document[strings.TrimPrefix(object+"."+k.name, ".")]; more || slices.Contains([]string{"routes", "events", "steps"}, path) || strings.HasSuffix(path, "s.auth") {
					continue
				}
				r := plain
				for _, name := range names(path) {
					r = r.within(name)
				}
				switch {
				case r.hidden():
					secret = append(secret, path)
				case r == headerList:
					headers = append(headers, path)
				default:
					plainly = append(plainly, path)
				}
			}
		}
	}
	slices.Sort(secret)
	return slices.Compact(secret), headers, plainly
}

// Each field that holds secrets is planted, in jobs and in connections: a new one needs a plant, and what looks like one has to be one.
func TestEverySecretFieldIsPlanted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		document map[string][]key
		plants   []secrettest.Plant
		more     []string
	}{
		"a job": {keys, secrettest.Jobs, append([]string{"steps.headers"}, requestHeaders...)}, "a connection": {connectionKeys, secrettest.Connections, nil},
	} {
		secret, headers, plainly := secretFields(c.document)
		covered := secrettest.Covered(c.plants)
		for _, field := range secret {
			if !slices.Contains(covered, field) {
				t.Errorf("%s: %s holds a secret, and no plant has one there (control/secret/secrettest)", name, field)
			}
		}
		for _, list := range append(headers, c.more...) {
			if !slices.ContainsFunc(covered, func(field string) bool { return strings.HasPrefix(field, list+".") }) {
				t.Errorf("%s: no plant has a secret header at %s", name, list)
			}
		}
		for _, field := range covered {
			list, header := field[:strings.LastIndex("."+field, ".")], field[strings.LastIndex(field, ".")+1:]
			list = strings.TrimSuffix(list, ".")
			if !slices.Contains(secret, field) && !(strings.HasSuffix(list, "headers") && sink.SecretHeader(header)) {
				t.Errorf("%s: a plant has a secret at %s, which is none", name, field)
			}
		}
		// A name that sounds like a secret, and is none here.
		for _, field := range plainly {
			last := field[strings.LastIndex(field, ".")+1:]
			if field == "dead_letter.key" || strings.HasSuffix(field, "token_url") {
				continue
			}
			for _, word := range []string{"secret", "password", "token", "key", "credential", "private"} {
				if strings.Contains(last, word) {
					t.Errorf("%s: is %s no secret? (field_secret.go)", name, field)
				}
			}
		}
		if len(secret) < 9 {
			t.Errorf("%s: only %v", name, secret)
		}
	}
}

// planting is a plant as a definition, and its secrets.
func planting(t *testing.T, p secrettest.Plant, connection bool) (text string, planted secrettest.Secrets) {
	t.Helper()
	apis := []string{"https://api.example.org"}
	for i := range 8 {
		apis = append(apis, fmt.Sprintf("https://api%d.example.org", i+1))
	}
	text, planted = p.Fill(t, apis...)
	if connection {
		authority, _ := secrettest.Certificate(t)
		text = strings.ReplaceAll(text, "AUTHORITY", secrettest.InYAML(authority))
		return "name: " + p.Name + "\nowner: demo\nbase_url: https://api.example.org/v1\n" + text + "\n", planted
	}
	head := "id: " + p.Name + "\nowner: demo\ntopic: [a]\n"
	if p.Topic == "" {
		head += "type: PUT\ndatamap: {id: $.msg.id}\nurl: https://api.example.org/{id}\n"
	}
	return head + text + "\n", planted
}

// Whatever is printed of a plant, and however it is written wrong: nothing of its secrets is shown.
func TestPlantsAreNotShown(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	show := func(t *testing.T, planted secrettest.Secrets, how string, values ...any) {
		t.Helper()
		for _, v := range values {
			inJSON, _ := json.Marshal(v) // not all can be written
			planted.Absent(t, how, fmt.Sprintf("%v\n%+v\n%#v\n%s", v, v, v, inJSON))
		}
	}
	for _, plant := range secrettest.Jobs {
		t.Run(plant.Name, func(t *testing.T) {
			t.Parallel()
			text, planted := planting(t, plant, false)
			d := parseOne(t, "job.yaml", text)
			for _, value := range planted {
				planted = append(planted, strings.Map(letters, value))
			}
			planted = append(planted, "from-env", "from-file")
			sealed, cfg, faults := d.Admit(p, nil)
			if err := faults.Err(); err != nil && plant.Name != "by-file" && plant.Name != "by-env" { // whose secrets this process lacks
				t.Fatal(err)
			}
			cfg.Program = nil // what is rendered has headers
			show(t, planted, "admitted", faults, cfg, cfg.Sink, cfg.Sink.Auth, string(sealed))
			for _, place := range cfg.Sink.Places {
				show(t, planted, "a place", place, place.Auth, place.TLS)
			}
			show(t, planted, "as it is shown", string(d.Masked()))
			_, faults = d.Compile(p)
			show(t, planted, "compiled without a key", faults)
			for how, wrong := range misspelt(text, planted) {
				defs, findings := ParseFile("job.yaml", []byte(wrong))
				show(t, planted, how, findings)
				for _, d := range defs {
					_, _, faults := d.Admit(p, nil)
					show(t, planted, how+", admitted", faults, d.Findings(faults))
				}
			}
		})
	}
	for _, plant := range secrettest.Connections {
		t.Run(plant.Name, func(t *testing.T) {
			t.Parallel()
			text, planted := planting(t, plant, true)
			for _, value := range planted {
				planted = append(planted, strings.Map(letters, value))
			}
			n, findings := ParseConnection("connection.yaml", []byte(text))
			if n == nil {
				t.Fatal(findings)
			}
			sealed, target, faults := n.Admit(p, nil)
			if err := faults.Err(); err != nil {
				t.Fatal(err)
			}
			show(t, planted, "admitted", faults, target, target.Auth, target.TLS, target.Register, string(sealed))
			show(t, planted, "as it is shown", string(n.Masked()))
			for how, wrong := range misspelt(text, planted) {
				n, findings := ParseConnection("connection.yaml", []byte(wrong))
				show(t, planted, how, findings)
				if n != nil {
					_, _, faults := n.Admit(p, nil)
					show(t, planted, how+", admitted", faults)
				}
			}
		})
	}
}

// misspelt are texts in which each secret stands in a wrong way.
func misspelt(text string, planted secrettest.Secrets) map[string]string {
	all := map[string]string{}
	for i, value := range planted {
		quoted := "'" + value + "'"
		if !strings.Contains(text, quoted) {
			continue
		}
		for how, wrong := range map[string]string{
			"a list": "[" + quoted + "]", "an object": "{a: " + quoted + "}", "a key": "{" + quoted + ": a}", "a number of it": "!!int " + quoted, "bytes of it": "!!binary " + quoted, "a time": "!!timestamp " + quoted,
			"an anchor": "*" + strings.Map(letters, value), "a tag": "!" + strings.Map(letters, value) + " x", "a quote": `"` + strings.ReplaceAll(value, `"`, ""), "a control character": `"\u0001` + strings.ReplaceAll(value, `"`, `\"`) + `"`,
			"a line end": `"a\n` + strings.ReplaceAll(value, `"`, `\"`) + `"`, "another reference": "'${env:HOME} " + value + "'",
			"a placeholder": "'{" + value + "} " + value + "'", "half a placeholder": "'{$.msg[" + value + "'", "a sealed text": "'sealed:v1:" + value + "'", "deeper": "{bearer: {basic: {password: " + quoted + "}}}",
		} {
			all[fmt.Sprintf("%s of %d", how, i)] = strings.ReplaceAll(text, quoted, wrong)
		}
	}
	return all
}

func letters(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return -1
}
