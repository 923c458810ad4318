package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// runs are arguments for every command; one that is added needs a line. JOB and CONNECTION are planted ones, FILE and DIR files of them.
var runs = map[string][][]string{
	"audit":                 {{}, {"--job", "JOB"}, {"--limit", "1000"}},
	"completion bash":       {{}},
	"completion fish":       {{}},
	"completion powershell": {{}},
	"completion zsh":        {{}},
	"help":                  {{"settings"}, {"run"}},
	"connections apply":     {{"-f", "DIR", "--dry-run"}, {"-f", "FILE", "--yes"}},
	"connections delete":    {{"CONNECTION", "--dry-run"}, {"CONNECTION", "--yes"}},
	"connections get":       {{"CONNECTION"}},
	"connections list":      {{}},
	"connections pause":     {{"CONNECTION"}},
	"connections resume":    {{"CONNECTION"}},
	"contexts delete":       {{"nothing", "--yes"}},
	"contexts list":         {{}},
	"contexts use":          {{"nothing"}},
	"deadletters give-up":   {{"JOB", "--dry-run"}},
	"deadletters list":      {{"JOB", "--limit", "1000"}},
	"deadletters redrive":   {{"JOB", "--dry-run"}, {"JOB", "--yes", "--limit", "1"}},
	"deadletters show":      {{"JOB", "0/0"}, {"JOB", "0/1"}},
	"deliveries find":       {{"JOB", "--topic", "Person", "--partition", "0", "--offset", "2"}, {"JOB", "--key", "x"}},
	"deliveries give-up":    {{"JOB", "--topic", "Person", "--partition", "0", "--offset", "2", "--row", "0", "--yes"}},
	"deliveries retry":      {{"JOB", "--topic", "Person", "--partition", "0", "--offset", "2", "--row", "0"}},
	"demo":                  {{"--nothing"}},
	"import invenio":        {{"FILE"}},
	"jobs apply":            {{"-f", "DIR", "--dry-run"}, {"-f", "FILE", "--yes"}},
	"jobs delete":           {{"JOB", "--dry-run"}},
	"jobs diff":             {{"-f", "DIR"}, {"-f", "FILE"}},
	"jobs get":              {{"JOB"}},
	"jobs list":             {{}},
	"jobs logs":             {{"JOB"}},
	"jobs pause":            {{"JOB"}},
	"jobs resume":           {{"JOB"}},
	"jobs show":             {{"JOB"}},
	"jobs start":            {{"JOB"}},
	"jobs stop":             {{"nothing"}},
	"login":                 {{"--user", "admin", "--password-stdin"}, {"--token-stdin"}},
	"logout":                {{}},
	"offsets accept":        {{"JOB", "--at", "earliest", "--dry-run"}},
	"offsets reset":         {{"JOB", "--to", "-1", "--dry-run"}},
	"offsets show":          {{"JOB"}},
	"offsets undo":          {{"JOB", "--dry-run"}},
	"preset":                {{"metadata"}, {"FILE"}},
	"run":                   {{"--jobs", "DIR", "--listen", "nowhere"}, {"--kafka-brokers", "https://u:5ecret-of-the-admin+/=@h/"}},
	"schema":                {{"job"}},
	"secrets rotate":        {{}},
	"services call":         {{"jobs", "definition", "job=JOB"}, {"jobs", "create", `document={"token": "5ecret-of-the-admin+/="`}},
	"services list":         {{}},
	"settings":              {{}},
	"test":                  {{"FILE", "--record", "-"}, {"JOB", "--topic", "Person", "--partition", "0", "--offset", "0"}, {"DIR", "--record", "-"}},
	"tokens create":         {{"a b", "--grant", "view:demo"}},
	"tokens list":           {{}},
	"tokens revoke":         {{"nothing"}},
	"validate":              {{"DIR"}, {"FILE"}},
	"version":               {{}},
}

// commands runs every command in every output format, and asks each for help.
func (a *asker) commands(planted map[string]string, dir string, environ []string) {
	a.t.Helper()
	var all []string
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if len(c.Commands()) == 0 {
			all = append(all, strings.TrimPrefix(c.CommandPath(), "streamer "))
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(environ))
	for name := range runs {
		if !slices.Contains(all, name) {
			a.t.Errorf("there is no command %s", name)
		}
	}
	file := filepath.Join(a.t.TempDir(), "one.yaml")
	jobs, connections := []string{"steps"}, []string{"c-oauth2"}
	for id := range planted {
		if strings.HasPrefix(planted[id], "id:") {
			jobs = append(jobs, id)
		} else {
			connections = append(connections, id)
		}
	}
	one := 0
	for _, name := range all {
		if len(runs[name]) == 0 {
			a.t.Errorf("streamer %s: there are no arguments for it in runs", name)
		}
		a.run(environ, append(strings.Fields(name), "--help"))
		for _, args := range runs[name] {
			for n, format := range [][]string{nil, {"-o", "json"}, {"-o", "yaml"}} {
				if n > 0 && one%2 == n%2 {
					continue
				}
				one++ // another job each time: all of them with all would take minutes
				id, connection := jobs[one%len(jobs)], connections[one%len(connections)]
				about := id
				if strings.HasPrefix(name, "connections") {
					about = connection
				}
				if err := os.WriteFile(file, []byte(planted[about]), 0o600); err != nil {
					a.t.Fatal(err)
				}
				words := strings.NewReplacer("JOB", id, "CONNECTION", connection, "FILE", file, "DIR", dir)
				line := strings.Fields(name)
				for _, arg := range args {
					line = append(line, words.Replace(arg))
				}
				a.run(environ, append(line, format...))
			}
		}
	}
}

func (a *asker) run(environ, args []string) {
	var printed bytes.Buffer
	root := newRoot(environ)
	root.SetArgs(args)
	root.SetIn(strings.NewReader(`{"id": "fine"}`))
	root.SetOut(&printed)
	root.SetErr(&printed)
	if err := root.ExecuteContext(a.t.Context()); err != nil {
		_, _ = fmt.Fprintf(&printed, "%v %+v", err, err)
	}
	a.out.add("streamer "+strings.Join(args[:min(2, len(args))], " "), printed.String()+" ")
}
