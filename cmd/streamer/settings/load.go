package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"streamer/internal/fault"
	"streamer/internal/nearest"
)

// maxFileBytes bounds the settings file.
const maxFileBytes = 1 << 20

// ofClients are the settings with a flag that only commands have which call an instance.
var ofClients = []string{"url", "user", "context", "insecure"}

// Flags declares a flag for every setting that has one, and --config. Their defaults are told in the help only: what was not
// given must not go over the environment.
func Flags(fs *pflag.FlagSet) {
	declare(fs, func(s Setting) bool { return !slices.Contains(ofClients, s.Key) })
}

// ClientFlags declares those of commands that only call an instance.
func ClientFlags(fs *pflag.FlagSet) {
	declare(fs, func(s Setting) bool { return slices.Contains(ofClients, s.Key) })
}

// AllFlags declares those of both, for a command that does its work here or on an instance.
func AllFlags(fs *pflag.FlagSet) { declare(fs, func(Setting) bool { return true }) }

func declare(fs *pflag.FlagSet, which func(Setting) bool) {
	fs.String(ConfigFlag, "", "settings file (default "+DefaultFile+" if it is there)")
	for _, s := range Table {
		if s.Flag == "" || !which(s) {
			continue
		}
		usage := s.Doc
		if s.Default != "" {
			usage += " (default " + s.Default + ")"
		}
		f := fs.VarPF(new(given), s.Flag, "", usage)
		if s.Key == "kafka.tls.enable" || s.Key == "insecure" {
			f.NoOptDefVal = "true"
		}
	}
}

// given is a flag's value as text; the table says what it means.
type given string

func (g *given) String() string     { return string(*g) }
func (g *given) Set(v string) error { *g = given(v); return nil }
func (g *given) Type() string       { return "value" }

// Load reads the settings: flags over environment (NAME=value, as os.Environ gives it) over the file over defaults. The error is a
// fault.List of everything wrong in all of them, each with the place it was given in; no value of a secret is in it.
func Load(flags *pflag.FlagSet, environ []string) (Settings, error) {
	l := loader{values: map[string]string{}, from: map[string]string{}}
	env := environment(environ)
	l.readFile(flags, env)
	l.readEnv(env)
	l.readFlags(flags)

	var s Settings
	for _, def := range Table {
		value, ok := l.values[def.Key]
		switch {
		case !ok || value == "":
			value = def.Default
		}
		if value == "" {
			continue
		}
		if given := l.values[def.Key] != ""; given && def.Key == "url" {
			s.URLFrom = l.from["url"]
		} else if given && def.Key == "context" {
			s.ContextFrom = l.from["context"]
		}
		if err := def.set(&s, value); err != nil {
			l.faults.Add(l.from[def.Key], fault.WithoutUser(err.Error()), "")
		}
	}
	if err := l.faults.Err(); err != nil {
		return Settings{}, err
	}
	// The client names its settings by their keys; an operator looks for them where they were given.
	for _, f := range s.Kafka.Validate() {
		if from, ok := l.from[f.Path]; ok {
			f.Path = from
		}
		f.Problem = fault.WithoutUser(f.Problem)
		l.faults = append(l.faults, f)
	}
	if s.SecretKeys != nil && s.SecretKeyFile != "" {
		l.faults.Add(l.from["secret_key_file"], "stands beside secret_key", "keep one of them")
	}
	l.checkPeople(s)
	return s, l.faults.Err()
}

// loader gathers what is given for each key. from says where, in the words of that place.
type loader struct {
	values, from map[string]string
	faults       fault.List
}

func (l *loader) put(key, value, from string) { l.values[key], l.from[key] = value, from }

func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, envPrefix) && !strings.HasPrefix(name, ValuePrefix) {
			env[name] = value
		}
	}
	return env
}

func (l *loader) readEnv(env map[string]string) {
	byName := map[string]string{ConfigEnv: ""}
	for _, s := range Table {
		byName[s.Env] = s.Key
	}
	names := make([]string, 0, len(env))
	for name := range env {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		key, known := byName[name]
		switch {
		case !known && serviceLink(name, env[name]):
		case !known:
			l.faults.Add("environment variable "+name, "unknown setting", l.meant(name, func(s Setting) string { return s.Env },
				"values for jobs are named "+ValuePrefix+"…"))
		case key != "" && env[name] != "":
			// An empty variable is not given, so that a deployment can carry those it does not fill in.
			l.put(key, env[name], "environment variable "+name)
		}
	}
}

var serviceLinkName = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// serviceLink tells whether a variable is one of those that Kubernetes sets in every container for each service, here for one whose
// name begins with streamer: STREAMER_SERVICE_HOST, STREAMER_PORT=tcp://…, STREAMER_PORT_9013_TCP_ADDR. They are nobody's mistake.
func serviceLink(name, value string) bool {
	return serviceLinkName.MatchString(name) && (!strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.Contains(name, "_TCP_") || strings.Contains(name, "_UDP_") || strings.Contains(name, "_SCTP_") || strings.Contains(value, "://"))
}

func (l *loader) readFlags(flags *pflag.FlagSet) {
	for _, s := range Table {
		if s.Flag == "" {
			continue
		}
		if f := flags.Lookup(s.Flag); f != nil && f.Changed {
			l.put(s.Key, f.Value.String(), "flag --"+s.Flag)
		}
	}
}

// meant names the setting that a misspelt one is near to, else otherwise.
func (l *loader) meant(name string, of func(Setting) string, otherwise string) string {
	var names []string
	for _, s := range Table {
		if of(s) != "" {
			names = append(names, of(s))
		}
	}
	if n := nearest.Name(name, names); n != "" {
		return "did you mean " + n + "?"
	}
	return otherwise
}

// readFile reads the file that was named, or the default one if it is there.
func (l *loader) readFile(flags *pflag.FlagSet, env map[string]string) {
	name, from := env[ConfigEnv], "environment variable "+ConfigEnv
	if f := flags.Lookup(ConfigFlag); f != nil && f.Changed {
		name, from = f.Value.String(), "flag --"+ConfigFlag
	}
	named := name != ""
	if !named {
		name, from = DefaultFile, "settings"
	}
	f, err := os.Open(name)
	if err != nil {
		if named || !errors.Is(err, fs.ErrNotExist) {
			l.faults.Add(from, err.Error(), "")
		}
		return
	}
	defer func() { _ = f.Close() }()
	src, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(src) > maxFileBytes {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFileBytes)
	}
	if err != nil {
		l.faults.Add(from, err.Error(), "")
		return
	}
	var root yaml.Node
	if err := yaml.Unmarshal(src, &root); err != nil {
		l.faults.Add(name, fault.NoYAML(err), "")
		return
	}
	if len(root.Content) > 0 && root.Content[0].ShortTag() != "!!null" {
		l.readNode(name, "", root.Content[0])
	}
}

// readNode takes one level of the file. Settings stand at the leaves; no alias is followed.
func (l *loader) readNode(file, path string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		l.faults.Add(fmt.Sprintf("%s:%d", file, n.Line), "expected settings by their names", "write it as in listen: 127.0.0.1:9013")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := k.Value
		if path != "" {
			key = path + "." + k.Value
		}
		at := fmt.Sprintf("%s:%d: %s", file, k.Line, key)
		switch {
		case slices.ContainsFunc(Table, func(s Setting) bool { return s.Key == key }):
			if _, twice := l.values[key]; twice {
				l.faults.Add(at, "stands twice", "keep one of them")
			}
			l.readLeaf(at, key, v)
		case slices.ContainsFunc(Table, func(s Setting) bool { return strings.HasPrefix(s.Key, key+".") }):
			l.readNode(file, key, v)
		default:
			l.faults.Add(at, "unknown setting", l.meant(key, func(s Setting) string { return s.Key }, ""))
		}
	}
}

// readLeaf takes a value; a list is the same as its parts with commas between, and owners are the same as their text.
func (l *loader) readLeaf(at, key string, v *yaml.Node) {
	switch v.Kind {
	case yaml.ScalarNode:
		value := v.Value
		if v.ShortTag() == "!!null" {
			value = ""
		}
		l.put(key, value, at)
	case yaml.MappingNode:
		text, err := yaml.Marshal(v)
		if err != nil || key != "owners" {
			l.faults.Add(at, "expected one value or a list", "")
			return
		}
		l.put(key, string(text), at)
	case yaml.SequenceNode:
		if key == "people.grants" {
			text, err := yaml.Marshal(v)
			if err != nil {
				l.faults.Add(at, err.Error(), "")
			}
			l.put(key, string(text), at)
			return
		}
		parts := make([]string, 0, len(v.Content))
		for _, e := range v.Content {
			if e.Kind != yaml.ScalarNode {
				l.faults.Add(at, "a list here holds plain values", "")
				return
			}
			parts = append(parts, e.Value)
		}
		l.put(key, strings.Join(parts, ","), at)
	default:
		l.faults.Add(at, "expected one value or a list", "")
	}
}
