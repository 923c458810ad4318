package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"streamer/control/people"
	"streamer/control/service"
	"streamer/internal/fault"
	"streamer/internal/nearest"
	"streamer/sink"
)

const (
	// leastPassword is the length of the shortest password of the admin.
	leastPassword = 12
	// maxPasswordFileBytes bounds the file that holds it.
	maxPasswordFileBytes = 1 << 10
)

// checkPassword says what is wrong with a password. Errors hold nothing of it.
func checkPassword(v string) error {
	if len(v) < leastPassword {
		return fmt.Errorf("is shorter than %d characters; make one by: openssl rand -base64 18", leastPassword)
	}
	return nil
}

// Logins says how people log in: what the settings say, with the password of the admin out of its file if there is one, which is read now.
func (s Settings) Logins() (people.Options, error) {
	o := s.People
	if s.AdminPasswordFile == "" {
		return o, nil
	}
	f, err := os.Open(s.AdminPasswordFile)
	if err != nil {
		return o, fmt.Errorf("admin.password_file: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxPasswordFileBytes+1))
	if err == nil && len(text) > maxPasswordFileBytes {
		err = fmt.Errorf("%s is larger than %d bytes", s.AdminPasswordFile, maxPasswordFileBytes)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if err == nil {
		if err = checkPassword(password); err != nil {
			err = fmt.Errorf("the password in %s %w", s.AdminPasswordFile, err)
		}
	}
	if err != nil {
		return o, fmt.Errorf("admin.password_file: %w", err)
	}
	o.Admin.Password = sink.Secret(password)
	return o, nil
}

// checkPeople adds what is wrong with how people log in: settings of which one needs another.
func (l *loader) checkPeople(s Settings) {
	p := s.People
	missing := func(key, what, mend string) { l.faults.Add(l.from[key], what, mend) }
	switch password := p.Admin.Password != ""; {
	case password && s.AdminPasswordFile != "":
		missing("admin.password_file", "stands beside admin.password", "keep one of them")
	case p.Admin.User != "" && !password && s.AdminPasswordFile == "":
		missing("admin.user", "there is no password for this user", "set STREAMER_ADMIN_PASSWORD or STREAMER_ADMIN_PASSWORD_FILE")
	case p.Admin.User == "" && password:
		missing("admin.password", "there is no user for this password", "set STREAMER_ADMIN_USER")
	case p.Admin.User == "" && s.AdminPasswordFile != "":
		missing("admin.password_file", "there is no user for this password", "set STREAMER_ADMIN_USER")
	}
	switch {
	case s.User != "" && s.Token != "":
		missing("token", "stands beside user", "keep one of them")
	case s.User == "" && s.Password != "":
		missing("password", "there is no user for this password", "set STREAMER_USER")
	}
	switch {
	case p.OIDC.Issuer != "" && p.OIDC.Audience == "":
		missing("oidc.issuer", "its tokens would be taken whomever they are for", "set STREAMER_OIDC_AUDIENCE")
	case p.OIDC.Issuer == "" && p.OIDC.Audience != "":
		missing("oidc.audience", "there is no provider whose tokens could name it", "set STREAMER_OIDC_ISSUER")
	case p.OIDC.Issuer == "" && p.OIDC.ClientID != "":
		missing("oidc.client_id", "there is no provider that could know it", "set STREAMER_OIDC_ISSUER")
	case p.OIDC.Issuer == "" && p.Grants != nil:
		missing("people.grants", "there is no provider whose groups these could be", "set STREAMER_OIDC_ISSUER")
	}
}

// grantWords are what a grant to a group consists of.
var grantWords = []string{"group", "permission", "owner"}

// grants reads what groups may do, as YAML. The error has all that is wrong.
func grants(text string) (all []people.GroupGrant, err error) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		return nil, errors.New(fault.NoYAML(err))
	}
	if len(root.Content) == 0 || root.Content[0].Kind != yaml.SequenceNode {
		return nil, errors.New("expected a list; write it as [{group: health-ops, permission: operate, owner: health}]")
	}
	var wrong []error
	for i, n := range root.Content[0].Content {
		g, faults := groupGrant(n)
		for _, f := range faults {
			wrong = append(wrong, fmt.Errorf("[%d]: %s", i, f))
		}
		all = append(all, g)
	}
	return all, errors.Join(wrong...)
}

// groupGrant reads one grant. No alias is followed.
func groupGrant(n *yaml.Node) (g people.GroupGrant, faults []string) {
	if n.Kind != yaml.MappingNode {
		return g, []string{"is no grant; write it as {group: health-ops, permission: operate, owner: health}"}
	}
	words := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		_, twice := words[key]
		switch near := nearest.Name(key, grantWords); {
		case twice:
			faults = append(faults, key+" stands twice; keep one of them")
		case key != "group" && key != "permission" && key != "owner" && near != "":
			faults = append(faults, key+" is unknown; did you mean "+near+"?")
		case key != "group" && key != "permission" && key != "owner":
			faults = append(faults, key+" is unknown; write one of "+strings.Join(grantWords, ", "))
		case value.Kind != yaml.ScalarNode:
			faults = append(faults, key+" is no plain text")
		}
		words[key] = value.Value
	}
	for _, key := range grantWords {
		if words[key] == "" {
			faults = append(faults, key+" is missing")
		}
	}
	permission := service.Permission(words["permission"])
	if permission != "" && !permission.Valid() {
		known := []string{string(service.View), string(service.Operate), string(service.Edit), string(service.Admin)}
		mend := "there are " + strings.Join(known, ", ")
		if near := nearest.Name(string(permission), known); near != "" {
			mend = "did you mean " + near + "?"
		}
		faults = append(faults, fmt.Sprintf("permission: %q is none; %s", permission, mend))
	}
	return people.GroupGrant{Group: words["group"], Grant: service.Grant{Permission: permission, Owner: words["owner"]}}, faults
}
