package job

import (
	"slices"

	"streamer/internal/fault"
	"streamer/internal/nearest"
	"streamer/schemas"
)

// standing says since when, and for whom, a key has a meaning.
type standing uint8

const (
	// ours: a key of streamer's own.
	ours standing = iota
	// aether: a key that the Aether REST consumer knew; a job of only these may carry keys that nobody knows.
	aether
)

// A key is one name that may stand in an object of a job.
type key struct {
	name string
	standing
}

// The keys of each object of a job, by the object's path; "" is the job itself. Objects whose keys the mapping checks (emit, mask,
// payload, steps) are not here. job.schema.json tells the same, with descriptions; a test holds them together.
var keys = map[string][]key{
	"": {
		{"id", aether}, {"owner", aether}, {"type", aether}, {"topic", aether}, {"datamap", aether}, {"url", aether},
		{"constant", aether}, {"query_params", aether}, {"json_body", aether}, {"form_body", aether},
		{"basic_auth", aether}, {"token", aether}, {"ratelimit", aether}, {"modified", aether}, {"hash", aether},
		{"auth", ours}, {"format", ours}, {"logical", ours}, {"start", ours}, {"group", ours}, {"filter", ours}, {"emit", ours},
		{"mask", ours}, {"order", ours}, {"headers", ours}, {"payload", ours}, {"tombstone", ours}, {"delivery", ours},
		{"dead_letter", ours}, {"limits", ours}, {"schemas", ours}, {"instances", ours},
		{"connection", ours}, {"routes", ours}, {"events", ours}, {"steps", ours}, {"callback", ours}, {"response", ours},
	},
	"routes": {{"name", ours}, {"when", ours}, {"type", ours}, {"url", ours}, {"headers", ours}, {"query_params", ours}, {"json_body", ours},
		{"form_body", ours}, {"payload", ours}, {"connection", ours}, {"auth", ours}, {"callback", ours}},
	// Of a method; the names above it are the job's to choose.
	"events": {{"http_method", ours}, {"payload", ours}, {"with_record_owner", ours}, {"url_factory", ours}, {"when", ours}, {"headers", ours},
		{"auth_token", ours}, {"suppress", ours}, {"callback", ours}, {"name", ours}},
	"basic_auth": {{"user", aether}, {"password", aether}},
	"auth": {{"basic", ours}, {"bearer", ours}, {"token", ours}, {"api_key", ours},
		{"oauth2", ours}, {"mtls", ours}, {"token_storage", ours}},
	"auth.basic":   {{"user", ours}, {"password", ours}},
	"auth.api_key": {{"header", ours}, {"value", ours}},
	"auth.oauth2": {{"token_url", ours}, {"client_id", ours}, {"client_secret", ours}, {"scopes", ours}, {"audience", ours},
		{"refresh_token", ours}, {"grant", ours}},
	"auth.mtls":          {{"cert", ours}, {"key", ours}},
	"auth.token_storage": {{"url", ours}, {"service", ours}, {"user", ours}},
	"delivery": {{"timeout", ours}, {"concurrency", ours}, {"rate_limit", ours}, {"retry", ours}, {"on_unproven", ours},
		{"breaker", ours}, {"statuses", ours}, {"drain", ours}, {"commit", ours}, {"idempotency_header", ours},
		{"position_headers", ours}, {"response_bytes", ours}},
	"delivery.rate_limit": {{"rate", ours}, {"per", ours}, {"burst", ours}},
	"delivery.retry":      {{"initial", ours}, {"max", ours}, {"max_after", ours}, {"attempts", ours}},
	"delivery.breaker":    {{"failures", ours}, {"open", ours}, {"health", ours}},
	"limits":              {{"record_bytes", ours}, {"inflated_bytes", ours}, {"rows", ours}, {"nesting", ours}, {"values", ours}},
	"callback":            {{"topic", ours}},
	"response":            {{"topic", ours}, {"on", ours}},
	"dead_letter":         {{"topic", ours}, {"hold_share", ours}, {"key", ours}, {"retention", ours}},
}

// connectionKeys are those of a connection, in the same way.
var connectionKeys = map[string][]key{
	"": {{"name", ours}, {"owner", ours}, {"base_url", ours}, {"auth", ours}, {"tls", ours}, {"limits", ours}, {"modified", ours}, {"hash", ours},
		{"success", ours}, {"register", ours}},
	"auth":               keys["auth"],
	"auth.basic":         keys["auth.basic"],
	"auth.api_key":       keys["auth.api_key"],
	"auth.oauth2":        keys["auth.oauth2"],
	"auth.mtls":          keys["auth.mtls"],
	"auth.token_storage": keys["auth.token_storage"],
	"success":            {{"when", ours}, {"else", ours}},
	"register": {{"url", ours}, {"servicename", ours}, {"authorize_url", ours}, {"refresh_url", ours}, {"client_id", ours},
		{"client_secret", ours}, {"implements", ours}, {"known", ours}},
	"tls":               {{"ca", ours}, {"server_name", ours}, {"cert", ours}, {"key", ours}},
	"limits":            {{"concurrency", ours}, {"rate_limit", ours}},
	"limits.rate_limit": keys["delivery.rate_limit"],
}

// checkKeys refuses the keys of the object at path that are unknown. lenient says the job is written for the
// Aether consumer, which ignored what it did not know: there an unknown key only warns.
func checkKeys(faults *fault.List, object schemas.Value, path string, known []key, lenient bool) {
	for name := range object.Members() {
		at := slices.IndexFunc(known, func(k key) bool { return k.name == name })
		switch {
		case at >= 0:
		case lenient:
			faults.Warn(member(path, name), "unknown key, it has no effect", meant(name, known))
		default:
			faults.Add(member(path, name), "unknown key", meant(name, known))
		}
	}
}

// meant names the known key that a misspelt one is near to.
func meant(name string, known []key) string {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.name
	}
	if n := nearest.Name(name, names); n != "" {
		return "did you mean " + n + "?"
	}
	return ""
}

// forAether tells whether every key of the job that streamer knows is one of the Aether consumer's.
func forAether(job schemas.Value) bool {
	for name := range job.Members() {
		for _, k := range keys[""] {
			if k.name == name && k.standing != aether {
				return false
			}
		}
	}
	return true
}
