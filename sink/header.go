package sink

import (
	"net/textproto"
	"slices"
	"strings"
)

// headerWords are in the names of headers that carry credentials; a name is cut into words at its dashes and underscores.
var headerWords = []string{"authorization", "authentication", "auth", "cookie", "cookie2", "token", "secret", "password", "passwd", "credential",
	"credentials", "signature", "apikey", "jwt"}

// openHeaders end in Key and are no credentials.
var openHeaders = []string{"Idempotency-Key", "Sort-Key", "Partition-Key", "Surrogate-Key", "Routing-Key", "Sec-Websocket-Key"}

// SecretHeader says that a header of this name carries a credential, and is not to be shown.
func SecretHeader(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' })
	if slices.ContainsFunc(words, func(w string) bool { return slices.Contains(headerWords, w) }) {
		return true
	}
	return len(words) > 0 && words[len(words)-1] == "key" && !slices.Contains(openHeaders, name)
}
