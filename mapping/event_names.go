package mapping

import (
	"slices"
	"strings"

	"streamer/internal/nearest"
)

// eventArguments are the members of a record event: what a service was called with, and what came of it.
var eventArguments = []string{"service_type", "service_method", "record", "draft", "data", "identity", "owner", "errors", "params",
	"old_slug", "slug", "id", "time"}

// A service of InvenioRDM, by the name that its events carry. Names that people and events have for the same thing stand beside it.
type service struct {
	name    string
	also    []string
	methods []string
	// aliases give a method's other names, those of InvenioRDM's services included.
	aliases map[string]string
}

// Methods as InvenioRDM's services have them.
var (
	everyMethod = []string{"create", "update_tombstone", "search", "scan", "read"}
	services    = []service{
		{
			name: "rdm_record", also: []string{"records", "record", "rdm_records"},
			methods: []string{"publish", "delete_record", "restore_record", "mark_record", "unmark_record", "update_draft", "edit", "new_version",
				"delete_draft", "import_files", "read_draft", "search_drafts", "search_versions", "lift_embargo"},
			aliases: map[string]string{"mark_record_for_purge": "mark_record", "unmark_record_for_purge": "unmark_record", "delete": "delete_record",
				"restore": "restore_record"},
		},
		{
			name: "community", also: []string{"communities"},
			methods: []string{"update", "rename", "scan_versions", "delete_community", "restore_community", "search_user_communities",
				"search_community_requests", "featured_search", "featured_create", "featured_update", "featured_delete", "mark", "unmark"},
			aliases: map[string]string{"delete": "delete_community", "restore": "restore_community", "featured_list": "featured_search",
				"mark_community_for_purge": "mark", "unmark_community_for_purge": "unmark"},
		},
	}
	anyService = service{}
)

// serviceOf gives a service by any of its names. One that is not known has what every service has, under its own name.
func serviceOf(name string) *service {
	for i := range services {
		if s := &services[i]; s.name == name || slices.Contains(s.also, name) {
			return s
		}
	}
	return &anyService
}

// ServiceName gives what a service is called here, by any of the names that people and events have for it: rdm_record for records.
func ServiceName(given string) string { return serviceOf(given).nameOf(given) }

// nameOf is what events of a service are told by, whatever name they carry.
func (s *service) nameOf(given string) string {
	if s.name == "" {
		return given
	}
	return s.name
}

// method gives a method by any of its names; what is not known is itself.
func (s *service) method(name string) string {
	if known, ok := s.aliases[name]; ok {
		return known
	}
	return name
}

func (s *service) has(method string) bool {
	return slices.Contains(everyMethod, method) || slices.Contains(s.methods, method)
}

// meant is the mend for a method that the service does not have.
func (s *service) meant(name string) string {
	known := append(slices.Clone(everyMethod), s.methods...)
	other := slices.Clone(known)
	for alias := range s.aliases {
		other = append(other, alias)
	}
	slices.Sort(other[len(known):])
	mend := "the methods are " + strings.Join(known, ", ")
	if n := nearest.Name(name, other); n != "" {
		return "did you mean " + n + "? " + strings.ToUpper(mend[:1]) + mend[1:]
	}
	return mend
}

// atArgument says that a path begins at an argument of a record event.
func (q *query) atArgument() bool {
	name, ok := q.begins(0)
	return q.absolute && ok && slices.Contains(eventArguments, name)
}

// namesOwner says that a path begins at the owner of a record event.
func (q *query) namesOwner() bool {
	first, _ := q.begins(0)
	second, _ := q.begins(1)
	return q.absolute && first == areaNames[0] && second == "owner"
}

// begins gives the name that segment i of a path selects, if it selects one and nothing else.
func (q *query) begins(i int) (string, bool) {
	if i >= len(q.segments) {
		return "", false
	}
	s := q.segments[i]
	if s.descend || s.op != nil || len(s.selectors) != 1 || s.selectors[0].kind != selectName {
		return "", false
	}
	return s.selectors[0].name, true
}
