package secrettest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Plant is a job, or a connection, with secrets in it.
type Plant struct {
	// Name is its id.
	Name string
	// Topic is what a job reads; empty: that of rows that have an id.
	Topic string
	// Text is what makes it what it is, as YAML. API stands for the URL of an API, API1 and so on for others, CERT for a certificate, and
	// «auth.bearer» for the secret of a field, by its path without the numbers of lists. Of «auth.mtls.key» and «tls.key» it is a key of
	// CERT, within double quotes; AUTHORITY is whoever signed the certificates of the API by TLS. What is no field of a document (env, file) is given otherwise.
	Text string
}

// Jobs are plants of all ways in which a job can log in, and of all fields of a job that hold secrets: a test of package job holds that there
// is none without.
var Jobs = []Plant{
	{Name: "basic", Text: "basic_auth: {user: demo, password: '«basic_auth.password»'}"},
	{Name: "auth-basic", Text: "auth: {basic: {user: demo, password: '«auth.basic.password»'}}"},
	{Name: "token", Text: "token: '«token»'"},
	{Name: "auth-token", Text: "auth: {token: '«auth.token»'}"},
	{Name: "auth-bearer", Text: "auth: {bearer: '«auth.bearer»'}"},
	{Name: "auth-api-key", Text: "auth: {api_key: {header: X-Mine, value: '«auth.api_key.value»'}}"},
	{Name: "header", Text: "headers: {X-Api-Key: '«headers.X-Api-Key»'}"},
	{Name: "own-login", Text: "headers: {Authorization: 'ApiKey «headers.Authorization»'}"},
	{Name: "cookie", Text: "headers: {Cookie: 'a={id}; session=«headers.Cookie»'}"},
	{Name: "by-env", Text: "auth: {bearer: '${env:STREAMER_VALUE_TOKEN}'}"},
	{Name: "by-file", Text: "auth: {basic: {user: demo, password: '${file:password}'}}"},
	{Name: "plain-header", Text: "headers: {X-Source: 'a ${env:STREAMER_VALUE_TOKEN}'}"},
	{Name: "oauth2", Text: "auth: {oauth2: {token_url: 'API/token', client_id: streamer, client_secret: '«auth.oauth2.client_secret»'}}"},
	{Name: "oauth2-refresh", Text: "auth: {oauth2: {token_url: 'API/token', client_id: streamer, refresh_token: '«auth.oauth2.refresh_token»'}}"},
	{Name: "oauth2-refused", Text: "auth: {oauth2: {token_url: 'API/token?refused', client_id: streamer, client_secret: '«auth.oauth2.client_secret»'}}"},
	{Name: "oauth2-a-page", Text: "auth: {oauth2: {token_url: 'API/token?page', client_id: streamer, client_secret: '«auth.oauth2.client_secret»'}}"},
	{Name: "mtls", Text: "auth: {mtls: {cert: \"CERT\", key: \"«auth.mtls.key»\"}}"},
	{Name: "token-storage", Text: "auth: {token_storage: {url: 'API/storage', service: crm, user: ann}}"},
	{Name: "token-storage-lost", Text: "auth: {token_storage: {url: 'API/storage', service: crm, user: eve}}"},
	{Name: "routes", Text: `routes:
- {name: basic, url: 'API1/routes/{id}', auth: {basic: {user: demo, password: '«routes.auth.basic.password»'}}}
- {name: bearer, url: 'API2/routes/{id}', auth: {bearer: '«routes.auth.bearer»'}}
- {name: token, url: 'API3/routes/{id}', auth: {token: '«routes.auth.token»'}}
- {name: key, url: 'API4/routes/{id}', auth: {api_key: {header: X-Mine, value: '«routes.auth.api_key.value»'}}}
- {name: client, url: 'API5/routes/{id}', auth: {oauth2: {token_url: 'API5/token', client_id: streamer, client_secret: '«routes.auth.oauth2.client_secret»'}}}
- {name: refresh, url: 'API6/routes/{id}', auth: {oauth2: {token_url: 'API6/token', client_id: streamer, refresh_token: '«routes.auth.oauth2.refresh_token»'}}}
- {name: certificate, url: 'API7/routes/{id}', auth: {mtls: {cert: "CERT", key: "«routes.auth.mtls.key»"}}}
- {name: header, headers: {X-Session-Token: '«routes.headers.X-Session-Token»'}}`},
	{Name: "steps", Text: `steps:
- {name: basic, url: 'API1/steps/{$.msg.id}', auth: {basic: {user: demo, password: '«steps.auth.basic.password»'}}}
- {name: bearer, url: 'API2/steps/{$.msg.id}', auth: {bearer: '«steps.auth.bearer»'}}
- {name: token, url: 'API3/steps/{$.msg.id}', auth: {token: '«steps.auth.token»'}}
- {name: key, url: 'API4/steps/{$.msg.id}', auth: {api_key: {header: X-Mine, value: '«steps.auth.api_key.value»'}}}
- {name: client, url: 'API5/steps/{$.msg.id}', auth: {oauth2: {token_url: 'API5/token', client_id: streamer, client_secret: '«steps.auth.oauth2.client_secret»'}}}
- {name: refresh, url: 'API6/steps/{$.msg.id}', auth: {oauth2: {token_url: 'API6/token', client_id: streamer, refresh_token: '«steps.auth.oauth2.refresh_token»'}}}
- {name: certificate, url: 'API7/steps/{$.msg.id}', auth: {mtls: {cert: "CERT", key: "«steps.auth.mtls.key»"}}}
- {name: header, url: 'API8/steps/{$.msg.id}', headers: {X-Session-Token: '«steps.headers.X-Session-Token»'}}`},
	{Name: "entity", Text: `steps:
- name: entity
  read_or_create:
    read: {url: 'API1/nothing/{$.msg.id}', headers: {X-Read-Key: '«steps.read_or_create.read.headers.X-Read-Key»'}}
    create: {url: 'API1/entity/{$.msg.id}', payload: {a: 1}, headers: {X-Create-Key: '«steps.read_or_create.create.headers.X-Create-Key»'}}
    missing: 'answered {$.answer.headers.x-echo}'
- name: changed
  read_or_create:
    read: {url: 'API2/entity/{$.msg.id}'}
    update: {url: 'API2/entity/{$.msg.id}', payload: {a: 1}, headers: {X-Update-Key: '«steps.read_or_create.update.headers.X-Update-Key»'}}
`},
	{Name: "told-by-a-step", Text: `steps:
- name: none
  read_or_create: {read: {url: 'API1/echo/{$.msg.id}', headers: {X-Read-Key: '«steps.read_or_create.read.headers.X-Read-Key»'}, select: "$.answer.body[?(@.no == 1)]"}, create: {when: $.msg.never, url: 'API1/x'}, missing: 'answered {$.answer.headers.x-echo} {$.answer.body}'}`},
	{Name: "events", Topic: "Events", Text: `events:
  rdm_record:
    'API1/events': {publish: {http_method: POST, auth_token: '«events.auth_token»'}}
    'API2/events': {publish: {http_method: POST, headers: {X-Event-Secret: '«events.headers.X-Event-Secret»'}}}`},
}

// Connections are the same of connections.
var Connections = []Plant{
	{Name: "c-basic", Text: "auth: {basic: {user: demo, password: '«auth.basic.password»'}}"},
	{Name: "c-bearer", Text: "auth: {bearer: '«auth.bearer»'}"},
	{Name: "c-token", Text: "auth: {token: '«auth.token»'}\nsuccess: {when: $.body.accepted}"},
	{Name: "c-api-key", Text: "auth: {api_key: {header: X-Mine, value: '«auth.api_key.value»'}}"},
	{Name: "c-oauth2", Text: "auth: {oauth2: {token_url: 'API/token', client_id: streamer, client_secret: '«auth.oauth2.client_secret»'}}"},
	{Name: "c-refresh", Text: "auth: {oauth2: {token_url: 'API/token', client_id: streamer, refresh_token: '«auth.oauth2.refresh_token»'}}"},
	{Name: "c-mtls", Text: "auth: {mtls: {cert: \"CERT\", key: \"«auth.mtls.key»\"}}\ntls: {ca: \"AUTHORITY\"}"},
	{Name: "c-tls", Text: "tls: {ca: \"AUTHORITY\", cert: \"CERT\", key: \"«tls.key»\"}"},
	{Name: "c-register", Text: "register: {url: 'API/register', servicename: c-register, authorize_url: 'https://a.example.org', refresh_url: 'https://a.example.org', client_id: streamer, " +
		"client_secret: '«register.client_secret»', implements: [metadata]}"},
	{Name: "c-storage", Text: "auth: {token_storage: {url: 'API/storage', service: crm, user: ann}}"},
}

var planted = regexp.MustCompile(`«([^»]*)»`)

// Fields are those that hold a secret of the plant's own.
func (p Plant) Fields() (fields []string) {
	for _, m := range planted.FindAllStringSubmatch(p.Text, -1) {
		fields = append(fields, m[1])
	}
	return fields
}

// Fill gives the text with its secrets, each like no other one. apis are the URLs that API, API1 and so on stand for.
func (p Plant) Fill(t testing.TB, apis ...string) (text string, planting Secrets) {
	t.Helper()
	text = p.Text
	for i := len(apis) - 1; i > 0; i-- {
		text = strings.ReplaceAll(text, "API"+string(rune('0'+i)), apis[i])
	}
	text = strings.ReplaceAll(text, "API", apis[0])
	var key string
	if strings.Contains(text, "CERT") {
		var cert string
		cert, key = Certificate(t)
		text = strings.ReplaceAll(text, "CERT", InYAML(cert))
	}
	text = planted.ReplaceAllStringFunc(text, func(field string) string {
		field = planted.FindStringSubmatch(field)[1]
		if field == "tls.key" || strings.HasSuffix(field, "mtls.key") {
			planting = append(planting, strings.Split(key, "\n")[1])
			return InYAML(key)
		}
		value := "5ecret/of+" + p.Name + "/" + field + `?=&"<>`
		planting = append(planting, value)
		return value
	})
	return text, planting
}

// InYAML are lines as they stand within double quotes.
func InYAML(lines string) string { return strings.ReplaceAll(lines, "\n", `\n`) }

// Certificate makes a client's certificate and its key, as PEM.
func Certificate(t testing.TB) (cert, key string) {
	t.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "streamer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, of, of, pair.Public(), pair)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// Covered are the fields of some plants, each once.
func Covered(plants []Plant) (fields []string) {
	for _, p := range plants {
		fields = append(fields, p.Fields()...)
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}
