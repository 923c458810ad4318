package sink

import (
	"crypto/tls"
	"crypto/x509"

	"streamer/internal/fault"
)

// config gives what a client needs; roots count unless there is a CA. Faults are by the paths of a connection and repeat nothing of it.
func (t TLS) config(roots *x509.CertPool) (*tls.Config, fault.List) {
	var l fault.List
	conf := &tls.Config{RootCAs: roots, ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			l.Add("tls.ca", "has no certificate in PEM form", "it begins with -----BEGIN CERTIFICATE-----")
		}
	}
	switch {
	case t.Cert == "" && t.Key == "":
	case t.Cert == "":
		l.Add("tls.key", "stands without tls.cert", "write both, or none")
	case t.Key == "":
		l.Add("tls.cert", "stands without tls.key", "write both, or none")
	default:
		pair, err := tls.X509KeyPair([]byte(t.Cert), []byte(t.Key.Reveal()))
		if err != nil { // it may hold parts of what was read
			l.Add("tls.cert", "is with tls.key no certificate with its key in PEM form", "give the certificate, and the key without a password that belongs to it")
		} else {
			conf.Certificates = []tls.Certificate{pair}
		}
	}
	return conf, l
}
