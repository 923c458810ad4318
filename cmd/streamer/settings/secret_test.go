package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"streamer/control/secret/secrettest"
)

// open are the settings without a flag that are no secrets: their values have more lines than one.
var open = map[string]bool{"people.grants": true, "owners": true}

// However a secret is given and misplaced: what is told of it holds nothing of it. Nor does a user's password in a URL, of any setting.
func TestNothingSecretInWhatIsWrong(t *testing.T) {
	t.Parallel()
	const mark = "S3cretMark+/=xyz"
	marks := secrettest.Secrets{mark}
	file := filepath.Join(t.TempDir(), "streamer.yaml")
	for _, s := range Table {
		inURL := []string{"https://u:" + mark + "@h.example.org/x", "http://u:" + mark + "@127.0.0.1:9013", "u://u:" + mark + "@h:9092,x", "ftp://" + mark + "@h"}
		try := func(how string, args, environ []string, text string) {
			t.Helper()
			fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
			AllFlags(fs)
			if err := fs.Parse(args); err != nil {
				t.Fatal(err)
			}
			if text != "" {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				environ = append(environ, ConfigEnv+"="+file)
			}
			got, err := Load(fs, environ)
			shown := "-"
			if err != nil {
				shown = fmt.Sprintf("%v %+v %#v", err, err, err)
			} else if s.Flag == "" {
				var log bytes.Buffer
				slog.New(slog.NewJSONHandler(&log, nil)).Info("", "s", got)
				inJSON, _ := json.Marshal(got.Kafka.SASL)
				inYAML, _ := yaml.Marshal(got.Registry)
				shown = fmt.Sprintf("%v %+v %#v", got, got, got) + fmt.Sprintf("%v %+v %#v", got.Kafka, got.Registry, got.People) + log.String() + string(inJSON) + string(inYAML)
			}
			marks.Absent(t, s.Key+", "+how, shown)
		}
		for _, value := range inURL {
			if s.Flag != "" {
				try("flag "+value, []string{"--" + s.Flag + "=" + value}, nil, "")
			}
			try("variable "+value, nil, []string{s.Env + "=" + value}, "")
		}
		if s.Flag != "" || open[s.Key] {
			continue
		}
		for _, value := range []string{mark, mark + ",", "," + mark + "," + mark, mark + "\n" + mark, "\x00" + mark, strings.Repeat(mark, 100)} {
			try("variable", nil, []string{s.Env + "=" + value}, "")
			try("variable, misspelt", nil, []string{s.Env + "X=" + value}, "")
		}
		levels := strings.Split(s.Key, ".")
		for _, value := range []string{mark, "'" + mark, "*" + mark, "&" + mark + " *" + mark, "!" + mark + " x", "[" + mark + "]", "[" + mark + ", {a: " + mark + "}]", "{a: " + mark + "}", "|\n" + mark,
			"`" + mark, "@" + mark, "%" + mark, ": " + mark, "\"\\x" + mark + "\"", "!!binary " + mark, "!!int " + mark, "!!float " + mark, "!!timestamp " + mark} {
			text := ""
			for i, level := range levels {
				text += strings.Repeat(" ", i) + level + ":"
				if i < len(levels)-1 {
					text += "\n"
				}
			}
			try("file "+value, nil, nil, text+" "+value+"\n")
			try("file, twice "+value, nil, nil, text+" "+value+"\n"+text+" "+value+"\n")
			try("file, misspelt "+value, nil, nil, text[:len(text)-1]+"x: "+value+"\n")
			try("file, alone "+value, nil, nil, value+"\n")
		}
	}
}
