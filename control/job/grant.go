package job

import (
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"streamer/sink"
)

// Everyone is the key of Grants for owners without an entry of their own.
const Everyone = "*"

// Grants say what the jobs of each owner may touch, by the owner's name; Everyone stands for all others. Whoever has no entry has the
// defaults of Grant.
type Grants map[string]Grant

// Grant is what the jobs of one owner may touch. Each list that is not nil takes the place of its default. Entries are names; one that
// ends in * is the beginning of names. What belongs to a job itself, and what no job may touch, cannot be changed by any grant:
//
//	list             default                            the job's own, always           never
//	Topics, read     all                                                                __*, <namespace>.* but <namespace>.out.*
//	Produce          <namespace>.out.*                  <namespace>.dead-letters.<id>   __*, <namespace>.* but <namespace>.out.*
//	Groups           <namespace>.*, RESTWorker:*        <namespace>.<id>
//	Hosts, CIDRs     what the process allows                                            what the process does not allow
//
// Hosts and CIDRs are one: with either given, private addresses are called only if one of the two has them, and the process allows them
// too. Public addresses are everybody's.
type Grant struct {
	Topics, Groups, Produce, Hosts []string
	CIDRs                          []netip.Prefix
}

// of gives the grant of an owner.
func (g Grants) of(owner string) Grant {
	if own, ok := g[owner]; ok {
		return own
	}
	return g[Everyone]
}

// has says that a list has a name.
func has(list []string, name string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		beginning, open := strings.CutSuffix(entry, "*")
		return entry == name || open && strings.HasPrefix(name, beginning)
	})
}

// hasAll says that a list has every name that begins with prefix.
func hasAll(list []string, prefix string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		beginning, open := strings.CutSuffix(entry, "*")
		return open && strings.HasPrefix(prefix, beginning)
	})
}

// guard is the process's, narrowed to what the owner is granted.
func (g Grant) guard(process sink.Guard, owner string) sink.Guard {
	if g.Hosts == nil && g.CIDRs == nil {
		return process
	}
	process.Narrowed = &sink.Narrowed{Owner: owner, Hosts: g.Hosts, CIDRs: g.CIDRs}
	return process
}

// granted says who can grant what is missing.
func (c *compilation) granted(list string) string {
	return "whoever runs streamer can grant it: owners." + c.def.Owner + "." + list + " in the settings"
}

// whole gives a pattern ^…$ so that it has to match the whole name, whatever stands in it: in ^a|b$ the ^ would hold for a alone, and the
// pattern would take every name that ends in b. ok is false where its $ is no end.
func whole(pattern string) (all string, ok bool) {
	if !strings.Contains(pattern, "|") {
		_, err := syntax.Parse(pattern[1:len(pattern)-1], syntax.Perl) // ^a\$ has no end
		return pattern, err == nil
	}
	all = "^(?:" + pattern[1:len(pattern)-1] + ")$"
	_, err := syntax.Parse(all, syntax.Perl)
	return all, err == nil
}

// beginning gives what every name that a pattern takes begins with. complete says that this is the only name.
func beginning(pattern string) (prefix string, complete bool) {
	inner, err := regexp.Compile(pattern[1 : len(pattern)-1]) // with its ^ a pattern has no literal prefix
	if err != nil {
		return "", false
	}
	return inner.LiteralPrefix()
}
