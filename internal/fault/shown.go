package fault

import (
	"regexp"
	"strings"
)

var (
	userInfo = regexp.MustCompile(`(://)[^"\s]*@`)
	quoted   = regexp.MustCompile(`'[^']*'|"[^"]*"|` + "`[^`]*`")
)

// WithoutUser gives what is wrong with a URL, or with what stands in place of something else, without a user and a password in it. It takes
// too much rather than too little: passwords have slashes.
func WithoutUser(problem string) string { return userInfo.ReplaceAllString(problem, "${1}********@") }

// NoYAML puts an error of the YAML library into words. What it quotes is left out: a password that begins with * is the name of an anchor
// that is not there, to YAML.
func NoYAML(err error) string {
	return "no YAML: " + quoted.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "…")
}
