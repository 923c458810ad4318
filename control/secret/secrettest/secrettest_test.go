package secrettest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// Each way in which a secret has been seen somewhere is found.
func TestFind(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"hunter2-hunter2", "s3cret/\"?&=+ <ü>!", "12345678", "ABCDEFGHIJ\\"} {
		inJSON, _ := json.Marshal(map[string]string{"a": value})
		shown := map[string]string{
			"as it is":       "Bearer " + value + ", and more",
			"quoted":         fmt.Sprintf("value %q", value),
			"in JSON":        string(inJSON),
			"in a query":     "https://a/?q=" + url.QueryEscape(value),
			"in a path":      "https://a/" + url.PathEscape(value),
			"in lower case":  "https://a/?q=" + strings.ReplaceAll(url.QueryEscape(value), "%2F", "%2f"),
			"in hexadecimal": fmt.Sprintf("%x", value),
			"in HEXADECIMAL": fmt.Sprintf("%X", "a"+value),
			"with blanks":    fmt.Sprintf("% x", value),
			"as bytes":       fmt.Sprint([]byte("a" + value + "b")),
			"as bytes, JSON": strings.ReplaceAll(fmt.Sprint([]byte(value)), " ", ","),
		}
		for n := range 4 {
			for m := range 4 {
				around := strings.Repeat("u", n) + value + strings.Repeat(":", m)
				shown[fmt.Sprint("in base64, ", n, m)] = "Basic " + base64.StdEncoding.EncodeToString([]byte(around))
				shown[fmt.Sprint("in base64url, ", n, m)] = base64.URLEncoding.EncodeToString([]byte(around))
			}
		}
		for name, text := range shown {
			if len((Secrets{value}).find(text)) == 0 {
				t.Errorf("%q is not found %s: %s", value, name, text)
			}
		}
		if found := (Secrets{value}).find("the quick brown fox 68 75 6e 74 ******** aHVudGVy cHVueXRl"); len(found) > 0 {
			t.Errorf("%q is found where it is not: %v", value, found)
		}
	}
	if len((Secrets{"short"}).find("nothing")) == 0 {
		t.Error("a secret that cannot be looked for is taken")
	}
}
