package settings

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"streamer/control/job"
	"streamer/control/secret"
	"streamer/internal/fault"
	"streamer/internal/nearest"
)

// maxKeyFileBytes bounds the file of keys.
const maxKeyFileBytes = 4 << 10

// Keyring gives the keys that seal and open secrets, from the setting or its file; nil: there are none. The file is read now. Errors hold
// nothing of a key.
func (s Settings) Keyring() (*secret.Keyring, error) {
	if s.SecretKeyFile == "" {
		return s.SecretKeys, nil
	}
	f, err := os.Open(s.SecretKeyFile)
	if err != nil {
		return nil, fmt.Errorf("secret_key_file: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("secret_key_file: %w", err)
	case len(text) > maxKeyFileBytes:
		return nil, fmt.Errorf("secret_key_file: %s is larger than %d bytes", s.SecretKeyFile, maxKeyFileBytes)
	}
	keys, err := secret.NewKeyring(string(text))
	if err != nil {
		return nil, fmt.Errorf("secret_key_file: %s: %w", s.SecretKeyFile, err)
	}
	if keys == nil {
		return nil, fmt.Errorf("secret_key_file: %s is empty; %s", s.SecretKeyFile, secret.Mend)
	}
	return keys, nil
}

// entry is a name that is granted, or the beginning of names with a * behind it.
var entry = regexp.MustCompile(`^[^*^$\s\x00-\x1f]{0,249}\*?$`)

// grantKeys are what can be granted to an owner.
var grantKeys = []string{"topics", "groups", "produce", "hosts", "cidrs"}

// owners reads what the jobs of each owner may touch, as YAML. The error has all that is wrong.
func owners(text string) (job.Grants, error) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		return nil, errors.New(fault.NoYAML(err))
	}
	if len(root.Content) == 0 || root.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("expected owners by their names; write it as {health: {topics: [Person]}}")
	}
	r := grantReader{}
	grants := job.Grants{}
	for name, v := range r.members("", root.Content[0]) {
		grants[name] = r.grant(name, v)
	}
	slices.SortFunc(r.wrong, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return grants, errors.Join(r.wrong...)
}

type grantReader struct{ wrong []error }

func (r *grantReader) add(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Errorf(format, args...))
}

// members gives the members of a mapping. No alias is followed.
func (r *grantReader) members(path string, n *yaml.Node) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		r.add("%s: expected lists by their names: %s", path, strings.Join(grantKeys, ", "))
		return nil
	}
	all := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i].Value
		if _, twice := all[k]; twice || n.Content[i].Kind != yaml.ScalarNode || k == "" {
			r.add("%s: %q stands twice, or is no name", path, k)
		}
		all[k] = n.Content[i+1]
	}
	return all
}

func (r *grantReader) grant(owner string, n *yaml.Node) job.Grant {
	var g job.Grant
	for key, v := range r.members(owner, n) {
		at := owner + "." + key
		switch key {
		case "topics":
			g.Topics = r.list(at, v)
		case "groups":
			g.Groups = r.list(at, v)
		case "produce":
			g.Produce = r.list(at, v)
		case "hosts":
			g.Hosts = r.list(at, v)
			for i, h := range g.Hosts {
				if g.Hosts[i] = strings.ToLower(h); strings.Contains(h, "*") || !isHost(h) {
					r.add("%s: %q is no host name; write it without scheme, port, path and wildcard", at, h)
				}
			}
		case "cidrs":
			g.CIDRs = []netip.Prefix{}
			for _, text := range r.list(at, v) {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					r.add("%s: %q is no range of addresses; write it as 10.0.0.0/8", at, text)
					continue
				}
				g.CIDRs = append(g.CIDRs, prefix.Masked())
			}
		default:
			mend := "write one of " + strings.Join(grantKeys, ", ")
			if n := nearest.Name(key, grantKeys); n != "" {
				mend = "did you mean " + n + "?"
			}
			r.add("%s: cannot be granted; %s", at, mend)
		}
	}
	return g
}

// list gives the entries of a list, which is not nil: an empty one grants nothing.
func (r *grantReader) list(at string, n *yaml.Node) []string {
	all := []string{}
	if n.Kind != yaml.SequenceNode {
		r.add("%s: expected a list; write it as [a, b]", at)
		return all
	}
	for _, e := range n.Content {
		if e.Kind != yaml.ScalarNode || e.Value == "" || !entry.MatchString(e.Value) {
			r.add("%s: %q is no name; a * may stand at its end", at, e.Value)
			continue
		}
		all = append(all, e.Value)
	}
	return all
}
