package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamer/control/service"
)

// What is wrong with a table is said in the words of the table, all of it, before anything is asked.
func TestTablesOfOffsets(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a": {"0": 1500, "2": 0}, "b": {"1": 9007199254740993}}`: "",
		`{"a": {"0": 1}, "b": {"0": 1}, "a": {"1": 2}}`:            "a stands twice",
		`{"a": {"0": 1, "0": 2}}`:                                  "a.0 stands twice",
		`{"a": {"0": "earliest", "1": -1, "x": 2, "01": 3, "-2": 1, "2": 1.5}}`: `a: "-2" is no partition; a/0: "earliest" is no offset; a: "01" is no partition; a/1: -1 is no offset; ` +
			`a/2: 1.5 is no offset; a: "x" is no partition; write {"topic": {"0": 1500}}`,
		`{"a": {"99999999999": 1, "0": 99999999999999999999}}`: `a/0: 99999999999999999999 is no offset; a: "99999999999" is no partition`,
		`[1]`:      "character 1: a array where an object is to be",
		`{"a": 5}`: "a number where an object is to be",
		`{}`:       "no topic is named",
		`null`:     "no topic is named",
		`{"a": `:   "no JSON: unexpected end of JSON input",
		``:         "no JSON",
	} {
		table, err := readTable([]byte(text))
		if want == "" {
			if err != nil || table["a"][0] != 1500 || table["b"][1] != 9007199254740993 || len(table["a"]) != 2 {
				t.Errorf("%s: %v, %v", text, table, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}

// An instance names the fields of its own request; whoever typed flags is told which of those is meant.
func TestFaultsOfResetsNameFlags(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "table.json")
	if err := os.WriteFile(file, []byte(`{"z": {"0": 5}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for flags, fields := range map[string][2]string{
		"--to never":                                 {"to", "--to"},
		"--to never --topic a":                       {"parts[0].to", "--to"},
		"--to 1 --topic z":                           {"parts[0].topic", "--topic"},
		"--to 1 --topic a --partition 9":             {"parts[0].partition", "--partition"},
		"--to 1 --topic a --partition 0 --set a/0=2": {"parts[1]", "--set"},
		"--set a/9=1":                                {"parts[0].partition", "--set"},
		"--to 1 --topic a --set z=never":             {"parts[1].to", "--set"},
		"--table " + file:                            {"table.z.0", "--table.z.0"},
	} {
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"title": "Bad Request", "status": 400, "detail": "it is wrong", "field": "` + fields[0] + `"}`))
		}))
		defer api.Close()
		said := operator{t, api.URL}.types(exitMisuse, "offsets reset people --dry-run "+flags)
		if said != "streamer: "+(service.Fault{Field: fields[1], Detail: "it is wrong"}).String()+"\n" {
			t.Errorf("%s: %s", flags, said)
		}
	}
	for _, command := range []string{"jobs show", "offsets undo --yes", "connections get", "tokens revoke"} {
		if said := (operator{t, "http://127.0.0.1:1"}).types(exitMisuse, command, ""); !strings.Contains(said, "usage: ") {
			t.Errorf("%s of nothing: %s", command, said)
		}
	}
}
