package people

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"streamer/consumer/consumertest"
	"streamer/consumer/kafkalog"
	"streamer/control/service"
)

// A token that is made on one instance is known on another one, and refused on both when it was revoked, within two seconds. What is in
// Kafka shows no token.
func TestKafkaTokensOnTwoInstances(t *testing.T) {
	c := consumertest.Kafka(t)
	namespace := strings.ReplaceAll(consumertest.Name("tokens"), ".", "-")
	var all []*Tokens
	for range 2 {
		log, err := kafkalog.Open(kafkalog.Config{Namespace: namespace, Options: c.Options(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { // ends with stop
			defer close(ended)
			log.Run(ctx)
		}()
		t.Cleanup(func() {
			stop()
			<-ended
			log.Close()
		})
		wait, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := log.Wait(wait); err != nil {
			t.Fatal(err)
		}
		all = append(all, NewTokens(log, line))
	}
	var secrets []string
	consumertest.Claim(t, "a token is known, and refused, on both instances within two seconds", func() (any, bool) {
		made, err := all[0].Create(t.Context(), root, Creation{Name: "deploy", Grants: []service.Grant{{Permission: service.View, Owner: "health"}}})
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, made.Secret)
		known := func(want bool) time.Duration {
			t.Helper()
			begun := time.Now()
			for i := range all {
				consumertest.WaitFor(t, time.Minute, "the token on each instance", func() (any, bool) {
					by, problem := all[i].caller(made.Secret)
					return problem, (problem == nil) == want && (!want || by.Name == "token:deploy")
				})
			}
			return time.Since(begun)
		}
		after := known(true)
		if r, err := all[1].Revoke(t.Context(), root, TokenID{made.ID}); err != nil || !r.Revoked {
			t.Fatal(r, err)
		}
		refused := known(false)
		return []time.Duration{after, refused}, max(after, refused) <= 2*time.Second
	})
	for _, topic := range []string{".jobs", ".audit"} {
		for _, r := range c.ReadAll(t, namespace+topic) {
			text := string(r.Key) + string(r.Value)
			for _, secret := range secrets {
				if strings.Contains(text, secret) || topic == ".audit" && strings.Contains(text, hash(secret)) {
					t.Errorf("%s shows the token: %s", topic, text)
				}
			}
		}
	}
}
