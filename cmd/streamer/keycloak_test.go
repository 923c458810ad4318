package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/consumer/consumertest"
)

// keycloak is a real one behind a proxy that notes what is asked of it, and that can cut an answer off.
type keycloak struct {
	t      *testing.T
	url    string
	secret string
	mu     sync.Mutex
	// changes are the requests but GET and those for tokens; lose, if set, is called for each answered one and says that its answer is lost.
	changes []string
	lose    func(change string) bool
}

func realKeycloak(t *testing.T) *keycloak {
	issuer := os.Getenv("OIDC_ISSUER")
	if issuer == "" {
		t.Skip("OIDC_ISSUER is not set: make oidc runs this test, and CI runs make oidc")
	}
	behind, err := url.Parse(strings.TrimSuffix(issuer, "/realms/streamer"))
	if err != nil {
		t.Fatal(err)
	}
	k := &keycloak{t: t, secret: os.Getenv("OIDC_CLIENT_SECRET")}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) }}
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method == http.MethodGet || strings.HasSuffix(r.Request.URL.Path, "/token") {
			return nil
		}
		change := fmt.Sprint(r.Request.Method, " ", strings.TrimPrefix(r.Request.URL.Path, "/admin/realms/streamer"), " ", r.StatusCode)
		k.mu.Lock()
		k.changes = append(k.changes, change)
		lose := k.lose
		k.mu.Unlock()
		if lose != nil && lose(change) {
			return http.ErrAbortHandler
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	k.url = server.URL
	return k
}

// losing makes lose decide about answers from now on.
func (k *keycloak) losing(lose func(change string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lose = lose
}

// since gives the changes that were asked for since it was asked last.
func (k *keycloak) since() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.changes
	k.changes = nil
	return all
}

// ask reads from the admin API.
func (k *keycloak) ask(path string, answer any) {
	k.t.Helper()
	resp, err := http.PostForm(k.url+"/realms/streamer/protocol/openid-connect/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"people"}, "client_secret": {k.secret}})
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil || token.Access == "" {
		k.t.Fatal("no token: ", resp.Status, err)
	}
	req, err := http.NewRequestWithContext(k.t.Context(), http.MethodGet, k.url+"/admin/realms/streamer"+path, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Access)
	if resp, err = http.DefaultClient.Do(req); err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		k.t.Fatal(path, ": ", resp.Status, err)
	}
}

// state is every group below root and every user of the domain, a line each: with ids, so that nothing can be made anew unseen.
func (k *keycloak) state(root, domain string) (lines []string) {
	k.t.Helper()
	type group struct {
		ID, Name, Path string
		Attributes     map[string][]string
	}
	var walk func(list []group)
	walk = func(list []group) {
		for _, g := range list {
			var whole group
			k.ask("/groups/"+g.ID, &whole)
			lines = append(lines, fmt.Sprint("group ", g.Path, " ", g.ID, " ", whole.Attributes["title"]))
			var below []group
			k.ask("/groups/"+g.ID+"/children?max=100", &below)
			walk(below)
		}
	}
	var top []group
	k.ask("/groups?max=100&search="+root, &top)
	walk(slices.DeleteFunc(top, func(g group) bool { return g.Name != root }))
	var users []struct{ ID, Username, FirstName, Email string }
	k.ask("/users?max=100&email="+domain, &users)
	for _, u := range users {
		var in []group
		k.ask("/users/"+u.ID+"/groups", &in)
		var paths []string
		for _, g := range in {
			paths = append(paths, g.Path)
		}
		slices.Sort(paths)
		lines = append(lines, fmt.Sprint("user ", u.Username, " ", u.ID, " ", u.FirstName, " ", paths))
	}
	slices.Sort(lines)
	return lines
}

// without takes the ids out of lines of a state.
func without(lines []string) (out []string) {
	for _, l := range lines {
		words := strings.Split(l, " ")
		out = append(out, strings.Join(slices.Delete(words, 2, 3), " "))
	}
	return out
}

// Groups by their path and users by their exact names, in a real Keycloak, by the two jobs of the users' page: made once, changed only where
// they differ, and the same after every crash between two requests.
func TestRealKeycloakGroupsAndUsers(t *testing.T) {
	k := realKeycloak(t)
	cluster := consumertest.Fake(t)
	root := strings.ReplaceAll(consumertest.Name("g"), "_", "-")
	domain := root + ".example.org"
	communities, members := cluster.Topic(t, "communities", 1), cluster.Topic(t, "members", 1)
	jobs := ""
	for _, name := range []string{"keycloak-groups", "keycloak-users"} {
		text, err := os.ReadFile("../../docs/examples/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		jobs += "---\n" + strings.NewReplacer("https://sso.example.org/admin/realms/portal", k.url+"/admin/realms/streamer", "https://sso.example.org/realms/portal", k.url+"/realms/streamer",
			"client_id: streamer", "client_id: people",
			"[communities]", "["+communities+"]", "[members]", "["+members+"]").Replace(string(text))
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/jobs.yaml", []byte(jobs), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() *program {
		return startWith(t, settings.Settings{Kafka: consumer.Client{Brokers: cluster.Brokers}, Namespace: "streamer", Listen: "127.0.0.1:0", Jobs: dir,
			AllowHosts: []string{"127.0.0.1"}, MemoryBytes: 64 << 20}, func(name string) (string, bool) { return k.secret, name == "STREAMER_VALUE_KEYCLOAK" })
	}
	producer := cluster.Client(t)
	say := func(topic, key string, values ...string) {
		t.Helper()
		var records []*kgo.Record
		for _, v := range values {
			v = strings.NewReplacer("ROOT", root, "DOMAIN", domain).Replace(v)
			records = append(records, &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(v)})
		}
		consumertest.Produce(t, producer, records...)
	}
	done := func(topic string) {
		t.Helper()
		cluster.WaitForLag(t, time.Minute, "streamer.keycloak-"+map[string]string{communities: "groups", members: "users"}[topic], topic)
	}
	groups := []string{`{"slug":"ROOT","title":"Root"}`, `{"slug":"ROOT__b","title":"B"}`, `{"slug":"ROOT__b__c","title":"C"}`}
	people := []string{`{"username":"annabel-ROOT","email":"annabel@DOMAIN","given":"Annabel","family":"Lee","groups":["ROOT"]}`,
		`{"username":"ann-ROOT","email":"ann@DOMAIN","given":"Ann","family":"Lee","groups":["ROOT__b__c","ROOT"]}`,
		`{"username":"ann","email":"a@DOMAIN","given":"Ann","family":"Poe","groups":["ROOT__b"]}`}
	people[2] = strings.ReplaceAll(people[2], `"ann"`, `"nn-ROOT"`) // whose name a search for it finds in both others

	p := run()
	say(communities, root, groups...)
	say(communities, "lost", `{"slug":"ROOT-lost__y__z","title":"Z"}`)
	done(communities)
	say(members, root, people...)
	done(members)
	first := k.state(root, domain)
	want := []string{"group /ROOT [Root]", "group /ROOT/b [B]", "group /ROOT/b/c [C]", "user ann-ROOT Ann [/ROOT /ROOT/b/c]", "user annabel-ROOT Annabel [/ROOT]", "user nn-ROOT Ann [/ROOT/b]"}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "ROOT", root)
	}
	if got := without(first); !slices.Equal(got, want) {
		t.Fatalf("Keycloak has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	letters := cluster.ReadAll(t, "streamer.dead-letters.keycloak-groups")
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	if reason := header(letters[0], "streamer-reason"); header(letters[0], "streamer-class") != "payload" || !strings.Contains(reason, "the group "+root+"-lost is not there") {
		t.Errorf("the dead letter says %s", reason)
	}

	// The same again: nothing is changed, and nothing that could change anything is asked.
	k.since()
	say(communities, root, groups...)
	say(members, root, people...)
	done(communities)
	done(members)
	if changes := k.since(); len(changes) > 0 {
		t.Errorf("what is the same makes the changes %v", changes)
	}
	if again := k.state(root, domain); !slices.Equal(again, first) {
		t.Errorf("Keycloak has\n%s\nand had\n%s", strings.Join(again, "\n"), strings.Join(first, "\n"))
	}

	// A change changes what differs.
	say(communities, root, `{"slug":"ROOT__b","title":"Bee"}`)
	say(members, root, strings.ReplaceAll(people[1], `"given":"Ann"`, `"given":"Anne"`))
	done(communities)
	done(members)
	if changes := k.since(); len(changes) != 2 || !strings.HasPrefix(changes[0], "PUT /") || !strings.HasPrefix(changes[1], "PUT /") {
		t.Errorf("two changes make %v", changes)
	}

	// Killed after each kind of change, before its answer comes: what comes after finds what was made.
	for i, kind := range []string{"POST /groups ", "POST /groups/", "POST /users ", "PUT /users/"} {
		crash := make(chan struct{})
		var once sync.Once
		k.losing(func(change string) bool {
			if !strings.HasPrefix(change, kind) {
				return false
			}
			once.Do(func() { close(crash) })
			return true
		})
		name := fmt.Sprintf("%s-%d", root, i)
		say(communities, name, `{"slug":"`+name+`","title":"N"}`, `{"slug":"`+name+`__sub","title":"S"}`)
		if i >= 2 {
			done(communities)
			say(members, name, `{"username":"u-`+name+`","email":"u`+name+`@DOMAIN","given":"U","family":"V","groups":["`+name+`__sub"]}`)
		}
		select {
		case <-crash:
		case <-time.After(time.Minute):
			t.Fatalf("%s was never asked", kind)
		}
		p.hard()
		if err := <-p.ended; err != nil {
			t.Log("killed: ", err)
		}
		k.losing(nil)
		p = run()
		done(communities)
		done(members)
		got := without(k.state(name, "u"+name+"@"+domain))
		want := []string{"group /" + name + " [N]", "group /" + name + "/sub [S]"}
		if i >= 2 {
			want = append(want, "user u-"+name+" U [/"+name+"/sub]")
		}
		if !slices.Equal(got, want) {
			t.Errorf("after a crash at %s Keycloak has\n%s\nwant\n%s", kind, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if letters := cluster.ReadAll(t, "streamer.dead-letters.keycloak-users"); len(letters) > 0 {
		t.Errorf("dead letters of users: %s", header(letters[0], "streamer-reason"))
	}
	p.soft()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
