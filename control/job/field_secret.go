package job

import (
	"regexp"
	"slices"
	"strings"

	"streamer/control/secret"
	"streamer/schemas"
	"streamer/sink"
)

// Which fields of a job are secret is said here and nowhere else: what is sealed before it is stored, and masked when it is read.
//
//	token, auth_token, password, and what else secretKeys has    every text in it
//	basic_auth, auth                                             every text in it but user, header of api_key, and of the others what
//	                                                             openLogin has
//	tls                                                          key
//	headers                                                      values of headers that sink.SecretHeader knows
//	whatever is sealed                                           wherever it stands
//
// It holds at every depth, so that a field nobody knows, or of a later version, does not show what it holds; but not within the fields
// that hold data. A text of references alone is no secret: it says where one is.

// dataKeys hold what is sent or looked for, not how: no field within them is secret, and no URL within them a target.
var dataKeys = []string{"datamap", "constant", "payload", "filter", "emit", "mask", "json_body", "form_body", "query_params"}

// secretKeys are secret with all they hold.
var secretKeys = []string{"auth", "basic_auth", "token", "auth_token", "password", "passwd", "secret", "client_secret", "api_key",
	"access_token", "refresh_token", "private_key", "credentials"}

// openKeys are not, within those.
var openKeys = []string{"user", "header"}

// openLogin is what is no secret of a way to log in, whose other fields are.
var openLogin = map[string][]string{
	"oauth2":        {"token_url", "client_id", "scopes", "audience", "grant"},
	"token_storage": {"url", "service", "user"},
	"mtls":          {"cert"},
}

// role is what a part of a document is, by the names above it.
type role uint8

const (
	plain role = iota
	data
	secretField
	headerList
	secretHeader
	tlsField
	oauth2Login
	storageLogin
	mtlsLogin
)

// logins are the ways to log in that have fields which are no secret.
var logins = map[string]role{"oauth2": oauth2Login, "token_storage": storageLogin, "mtls": mtlsLogin}

// hidden says that texts of this role are not to be shown.
func (r role) hidden() bool {
	return r == secretField || r == secretHeader || r == oauth2Login || r == storageLogin || r == mtlsLogin
}

// within gives the role of a member of an object that has role r.
func (r role) within(name string) role {
	if r == oauth2Login || r == storageLogin || r == mtlsLogin {
		for way, role := range logins {
			if role == r && slices.Contains(openLogin[way], name) {
				return plain
			}
		}
		return secretField
	}
	switch {
	case r == secretField && logins[name] != plain:
		return logins[name]
	case r == data, r == secretHeader, r == secretField && !slices.Contains(openKeys, name):
		return r
	case r == secretField:
		return plain
	case r == headerList && sink.SecretHeader(name):
		return secretHeader
	case r == headerList:
		return headerList
	case r == tlsField && name == "key":
		return secretField
	case name == "tls":
		return tlsField
	case name == "headers":
		return headerList
	case slices.Contains(dataKeys, name):
		return data
	case slices.Contains(secretKeys, name):
		return secretField
	}
	return plain
}

// leaf is a text or number of a document that is not to be shown.
type leaf struct {
	// path is where it stands, as in faults; field is the same for every way to write it.
	path, field string
	text        string
	role        role
	// number: it is none a job can use, but may be a secret all the same.
	number bool
}

// written says that the leaf is a secret in clear.
func (l leaf) written() bool {
	switch {
	case l.text == "" || l.text == masked || secret.Sealed(l.text):
		return false
	case l.role != secretHeader && l.role.hidden():
		return reference.ReplaceAllString(l.text, "") != ""
	}
	rest := placeholder.ReplaceAllString(reference.ReplaceAllString(l.text, "\x00"), "\x00")
	return !referredHeader.MatchString(rest)
}

var (
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
	// referredHeader is a header whose secret parts are all references (\x00): alone, behind a scheme, or as values of cookies.
	referredHeader = regexp.MustCompile(`^(?:(?i:basic|bearer|token|access_token|api-?key|digest) +)?\x00+$|^(?:[A-Za-z0-9_.-]{1,64}=\x00+(?:; ?|$))+$`)
)

// rewrite copies a document, with what change gives in place of each leaf.
func rewrite(v schemas.Value, change func(leaf) string) schemas.Value {
	w := rewriting{out: schemas.NewBuilder(), change: change}
	w.value(v, "", "", plain, 0)
	return w.out.Value()
}

type rewriting struct {
	out    *schemas.Builder
	change func(leaf) string
}

func (w *rewriting) value(v schemas.Value, path, field string, r role, depth int) {
	switch {
	case depth > maxNesting: // documents are not that deep; what is would not be looked at
		w.out.Null()
	case v.Kind() == schemas.Object:
		w.out.BeginObject()
		for name, m := range v.Members() {
			w.out.Key(name)
			at, of := member(path, name), field+"/"+name
			if r == headerList {
				of = field + "/" + strings.ToLower(name) // a header's name is the same in any case
			}
			w.value(m, at, of, r.within(name), depth+1)
		}
		w.out.End()
	case v.Kind() == schemas.Array:
		w.out.BeginArray()
		i := 0
		for e := range v.Elements() {
			at := element("", i)
			w.value(e, path+at, field+"/"+at, r, depth+1)
			i++
		}
		w.out.End()
	default:
		w.leaf(v, path, field, r)
	}
}

func (w *rewriting) leaf(v schemas.Value, path, field string, r role) {
	text, isText := v.Str()
	hidden := r.hidden()
	switch {
	case isText && (hidden || r != data && secret.Sealed(text)):
		w.out.String(w.change(leaf{path: path, field: field, text: text, role: r}))
	case hidden && v.Kind() != schemas.Null && v.Kind() != schemas.Bool:
		number, _ := v.AppendText(nil)
		w.out.String(w.change(leaf{path: path, field: field, text: string(number), role: r, number: true}))
	default:
		w.out.Copy(v)
	}
}

// leaves gives what is not to be shown, by field.
func (d *Definition) leaves() map[string]leaf {
	all := map[string]leaf{}
	rewrite(d.value, func(l leaf) string {
		all[l.field] = l
		return l.text
	})
	return all
}

// Connections are the names of all connections that the job names: for itself, in its routes and in its steps.
func (d *Definition) Connections() (names []string) {
	for _, target := range d.bounds().targets {
		if name, ok := strings.CutPrefix(target, toConnection); ok {
			names = append(names, name)
		}
	}
	return names
}

// toConnection begins a target that is a connection; no origin begins so.
const toConnection = "connection "
