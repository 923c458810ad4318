package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"streamer/control"
	"streamer/control/client"
	"streamer/control/job"
)

// What fails does not stop the others: a job that somebody changed meanwhile is left alone, and the next one is made.
func TestCarryOutGoesOn(t *testing.T) {
	t.Parallel()
	base, _, _ := openNight(t, persons{})
	p := applying{Jobs: []appliedJob{
		{Job: "visits", Action: toChange, Revision: "40", document: []byte(`{"id": "visits"}`)},
		{Job: "migrations", Action: toCreate, document: []byte(`{"id": "migrations"}`)},
		{Job: "births", Action: toKeep},
	}}
	p.carryOut(t.Context(), dial(t, base))
	if p.Created != 1 || p.Unchanged != 1 || p.Failed != 1 || !strings.Contains(p.Jobs[0].Problem, "revision 41, not 40") {
		t.Errorf("%+v", p)
	}
}

// When the instance is gone the rest is not tried, and says so.
func TestCarryOutWithoutAnswer(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	away := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer away.Close()
	p := applying{Jobs: []appliedJob{{Job: "a", Action: toCreate, document: []byte("{}")}, {Job: "b", Action: toDelete}, {Job: "c", Action: toKeep}}}
	p.carryOut(t.Context(), dial(t, away.URL))
	if p.Failed != 2 || asked.Load() != 1 || !strings.Contains(p.Jobs[0].Problem, "no answer from") || !strings.Contains(p.Jobs[1].Problem, "not tried") {
		t.Errorf("asked %d times: %+v", asked.Load(), p)
	}
}

// Prune takes only what the caller may edit.
func TestPruneOfOthers(t *testing.T) {
	t.Parallel()
	base, _, _ := openNight(t, persons{})
	set, broken := job.ParseFile("a.yaml", []byte("id: visits\nowner: health\nurl: https://api.example.org/visits\n"))
	if broken != nil {
		t.Fatal(broken)
	}
	for token, want := range map[string]action{"edit health": toDelete, "view health edit births": ""} {
		api, err := client.New(base, client.WithBearer(token))
		if err != nil {
			t.Fatal(err)
		}
		defer api.Close()
		files := job.Set{Jobs: set}
		if want == "" {
			files.Jobs = nil // to compare it needs edit as well
		}
		p, err := plan(t.Context(), api, files, pruning{wanted: true})
		if err != nil {
			t.Fatal(err)
		}
		var got action
		for _, j := range p.Jobs {
			if j.Job == "births" {
				got = j.Action
			}
		}
		if got != want {
			t.Errorf("%s: births is to be %q, not %q: %+v", token, got, want, p)
		}
	}
}

// What get prints is the job that it was, whatever stands in it.
func TestGotIsTheSame(t *testing.T) {
	t.Parallel()
	docs := []string{
		`{"id":"a","<<":{"b":1},"yes":"no","null":"null","~":"","n":12345678901234567890,"f":1e40,"g":-0.0,"h":1.50}`,
		`{"id":"a","texts":["yes","0x1f","1_000","1e3","12:30:45","2026-01-31","null","~","","-","- a","# a","a: b","a #b","'","\"","|",">","<<","=","!x","&a","*a","%a","@a","` + "`" + `","\u0007","\t","a\nb\n"," a ","\u0085\u2028","😀","\u00e4","\ufeff"]}`,
		`{"id":"a","deep":{"empty":{},"none":[],"null":null,"true":true,"list":[[1],[[]],{}]},"z":1,"y":2}`,
	}
	set, err := job.Load("../../docs/examples")
	if err != nil || len(set.Jobs) == 0 {
		t.Fatalf("%d examples, %v", len(set.Jobs), err)
	}
	for _, d := range set.Jobs {
		docs = append(docs, string(d.Canonical()))
	}
	for _, doc := range docs {
		want, broken := job.ParseFile("a.json", []byte(doc))
		if broken != nil {
			t.Fatalf("%s: %v", doc, broken)
		}
		for _, f := range []format{asYAML, asJSON} {
			var b bytes.Buffer
			if err := f.write(&b, json.RawMessage(want[0].Masked())); err != nil {
				t.Fatal(err)
			}
			got, broken := job.ParseFile("a."+string(f), b.Bytes())
			if broken != nil || len(got) != 1 {
				t.Fatalf("%s: %v\n%s", doc, broken, b.String())
			}
			if !bytes.Equal(got[0].Masked(), want[0].Masked()) {
				t.Errorf("%s became\n%s by\n%s", want[0].Masked(), got[0].Masked(), b.String())
			}
		}
	}
}

// Lines are printed once each, also when an instance was not there for a while, and when several have the same time.
func TestFollowedLines(t *testing.T) {
	t.Parallel()
	line := func(instance string, second int, text string) control.InstanceLine {
		return control.InstanceLine{Instance: instance, LogLine: control.LogLine{At: night.Add(time.Duration(second) * time.Second), Text: text}}
	}
	pages := [][]control.InstanceLine{
		{line("x", 1, "a"), line("y", 1, "a"), line("x", 2, "b")},
		{line("x", 1, "a"), line("x", 2, "b"), line("x", 2, "c")}, // y does not answer
		{line("y", 1, "a"), line("x", 2, "b"), line("x", 2, "c"), line("y", 3, "d")},
		{line("x", 2, "c"), line("y", 3, "d"), line("x", 4, "e"), line("x", 4, "f")},
		nil,
	}
	want := []string{"x1a y1a x2b", "x2c", "y3d", "x4e x4f", ""}
	var f followed
	var got []string
	for _, page := range pages {
		var said []string
		for _, l := range f.news(page) {
			said = append(said, l.Instance+l.At.Format("5")+l.Text)
		}
		got = append(got, strings.Join(said, " "))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(f.at) > 3 {
		t.Errorf("it remembers %d lines", len(f.at))
	}
}

// The credential of a context goes to its own address only.
func TestCredentialStaysAtItsAddress(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	seen := make(chan string, 10)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"jobs": []}`))
	})
	mine, other := httptest.NewServer(answer), httptest.NewServer(answer)
	defer mine.Close()
	defer other.Close()
	types := func(code int, in string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		if got := execute(args, []string{"HOME=" + home}, strings.NewReader(in), &out, &out); got != code {
			t.Fatalf("%q ended with %d: %s", args, got, out.String())
		}
	}
	types(0, "str_x\n", "login", "--token-stdin", "--url", mine.URL)
	<-seen
	<-seen // whether it asks at all
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "Bearer str_x"},
		{[]string{"--url", mine.URL + "/"}, "Bearer str_x"},
		{[]string{"--url", other.URL}, ""},
		{[]string{"--url", mine.URL + "/elsewhere"}, ""},
	} {
		types(0, "", append([]string{"jobs", "list"}, c.args...)...)
		if got := <-seen; got != c.want {
			t.Errorf("%q sent %q, not %q", c.args, got, c.want)
		}
	}
	if files, err := filepath.Glob(filepath.Join(home, ".config", "streamer", "*")); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// Deleting waits until the job is gone, and says when it was stopped before.
func TestGone(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	leaving := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"id": "a", "deleting": {"by": "ada"}}`))
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"title": "Not Found", "status": 404}`))
	}))
	defer leaving.Close()
	api := dial(t, leaving.URL)
	if done, err := gone(t.Context(), api, "a"); !done || err != nil || asked.Load() != 3 {
		t.Errorf("%v, %v after %d", done, err, asked.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if done, err := gone(ctx, api, "a"); done || err != nil {
		t.Errorf("stopped: %v, %v", done, err)
	}
}
