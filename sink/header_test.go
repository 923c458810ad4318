package sink

import "testing"

// Which headers are shown is told by their names, however these are written.
func TestWhichHeadersAreSecret(t *testing.T) {
	for name, secret := range map[string]bool{
		"authorization": true, "Proxy-Authorization": true, "cookie": true, "Set-Cookie": true, "set-cookie2": true, "x-access-token": true, "X-API-Key": true,
		"x_auth_token": true, "x-csrf-token": true, "Signature": true, "Subscription-Key": true,
		"Idempotency-Key": false, "sort-key": false, "Content-Type": false, "Author": false, "X-Monkey": false, "": false,
	} {
		if got := SecretHeader(name); got != secret {
			t.Errorf("%q: %v, want %v", name, got, secret)
		}
	}
}
