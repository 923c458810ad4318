package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
)

// authority signs certificates, and is trusted by nobody who is not told to.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// sign gives a certificate and its key, both as PEM.
func (a authority) sign(t *testing.T, name string, usage x509.ExtKeyUsage) (cert, key []byte) {
	t.Helper()
	k := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

const tlsFiles = `name: complete
owner: demo
base_url: URL
tls: {ca: "${file:ca.pem}", cert: "${file:client.pem}", key: "${file:client.key}", server_name: api.inside.test}
---
name: by-login
owner: demo
base_url: URL
tls: {ca: "${file:ca.pem}", server_name: api.inside.test}
auth: {mtls: {cert: "${file:client.pem}", key: "${file:client.key}"}}
---
name: without-certificate
owner: demo
base_url: URL
tls: {ca: "${file:ca.pem}", server_name: api.inside.test}
---
name: without-name
owner: demo
base_url: URL
tls: {ca: "${file:ca.pem}", cert: "${file:client.pem}", key: "${file:client.key}"}
---
name: without-authority
owner: demo
base_url: URL
tls: {cert: "${file:client.pem}", key: "${file:client.key}", server_name: api.inside.test}
`

// An API with a certificate of an authority of its own, for another name than its address, lets only those in who show a client's certificate.
// Jobs reach it by connections that say all of that, which stand among the job files; of any other the cause says what is missing.
func TestConnectionTLS(t *testing.T) {
	t.Parallel()
	brokers, own := onePerson(t), newAuthority(t)
	secrets := filepath.Join(t.TempDir(), "demo")
	clientCert, clientKey := own.sign(t, "streamer", x509.ExtKeyUsageClientAuth)
	files := map[string][]byte{"ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.cert.Raw}), "client.pem": clientCert, "client.key": clientKey}
	jobs := filepath.Join(t.TempDir(), "jobs")
	for _, dir := range []string{secrets, jobs} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(secrets, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serverCert, err := tls.X509KeyPair(own.sign(t, "api.inside.test", x509.ExtKeyUsageServerAuth))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(own.cert)
	came := make(chan string, 100)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		came <- strings.TrimPrefix(r.URL.Path, "/") + " as " + r.TLS.PeerCertificates[0].Subject.CommonName + " at " + r.TLS.ServerName
	}))
	api.TLS = &tls.Config{Certificates: []tls.Certificate{serverCert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	api.Config.ErrorLog = log.New(io.Discard, "", 0)
	api.StartTLS()
	defer api.Close()
	text := strings.ReplaceAll(tlsFiles, "URL", "https://"+net.JoinHostPort("127.0.0.1", api.URL[strings.LastIndex(api.URL, ":")+1:]))
	refused := map[string]string{
		"without-certificate": "TLS: the server refused the connection: certificate required",
		"without-name":        "TLS: the certificate is for another host name",
		"without-authority":   "TLS: the certificate is signed by an unknown authority",
	}
	for _, name := range []string{"complete", "by-login", "without-certificate", "without-name", "without-authority"} {
		text += "---\nid: " + name + "\nowner: demo\ntype: POST\ntopic: [Person]\ndatamap: {}\nurl: /" + name + "\nconnection: " + name + "\ndelivery: {retry: {max: 500ms}, breaker: {open: 500ms}}\n"
	}
	if err := os.WriteFile(filepath.Join(jobs, "all.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, settings.Settings{Kafka: consumer.Client{Brokers: brokers}, Namespace: "streamer", Listen: "127.0.0.1:0", Jobs: jobs, AllowHosts: []string{"127.0.0.1"},
		SecretsDir: filepath.Dir(secrets), MemoryBytes: 64 << 20}, func(string) (string, bool) { return "", false })
	got := map[string]bool{}
	for len(got) < 2 {
		select {
		case what := <-came:
			got[what] = true
		case <-time.After(2 * time.Minute):
			t.Fatalf("only %v came; the log: %s", got, strings.Join(p.log.lines, ""))
		}
	}
	if !got["complete as streamer at api.inside.test"] || !got["by-login as streamer at api.inside.test"] {
		t.Errorf("came %v", got)
	}
	for name, cause := range refused {
		p.says(t, "job="+name, cause)
	}
	p.soft()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}
