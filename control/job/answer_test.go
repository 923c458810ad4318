package job

import (
	"net/netip"
	"reflect"
	"testing"

	"streamer/sink"
	"streamer/sink/sinktest"
)

// A connection says what a success is; its jobs' rows are delivered, rejected or tried again by it.
func TestSuccessOfAConnection(t *testing.T) {
	t.Parallel()
	api, err := sinktest.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	p := secretProcess(t)
	p.Guard = sink.Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	compile := func(success string) Target {
		target, faults := parseConnection(t, "name: a\nowner: demo\nbase_url: "+api.URL()+"\nsuccess: "+success).Compile(p)
		checkFaults(t, faults, nil)
		return target
	}
	for name, test := range map[string]struct {
		success, body string
		want          sink.Class
	}{
		"one":                     {"{when: $.body.success}", `{"success": true, "n": 1}`, sink.Delivered},
		"none":                    {"{when: $.body.success}", `{"success": false}`, sink.Rejected},
		"none, said":              {"{when: $.body.success, else: rejected}", `{}`, sink.Rejected},
		"a page":                  {"{when: $.body.success}", `<html>`, sink.Rejected},
		"a filter":                {`{when: "$[?(@.errors == 0)]"}`, `{"errors": 0}`, sink.Delivered},
		"by a header":             {"{when: $.headers.x-result}", ``, sink.Delivered},
		"by a header not there":   {"{when: $.headers.x-other}", ``, sink.Rejected},
		"by the status":           {`{when: "$[?(@ == 202)]"}`, ``, sink.Delivered},
		"by more than the status": {`{when: "$[?(@ == 200)]"}`, ``, sink.Rejected},
	} {
		target := compile(test.success)
		if again := compile(test.success); !reflect.DeepEqual(target.Success, again.Success) {
			t.Errorf("%s: it is another one each time, and every job would be changed", name)
		}
		api.SetAnswer(func(*sinktest.Attempt) sinktest.Answer {
			return sinktest.Answer{Status: 202, Header: []sinktest.Header{{Name: "X-Result", Value: "done"}}, Body: []byte(test.body)}
		})
		s, err := sink.New(sink.Config{Guard: p.Guard, Success: target.Success}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan sink.Outcome, 1)
		s.NewScope().Deliver(&sink.Delivery{Request: sink.Request{Method: "GET", URL: target.Base}, Final: func(_ *sink.Delivery, o sink.Outcome) { done <- o }})
		if o := <-done; o.Class != test.want {
			t.Errorf("%s: %+v", name, o)
		}
		s.Close()
	}
	if target := compile("{when: $.body.ok, else: target}"); target.Success.Else != sink.Target || reflect.DeepEqual(target.Success, compile("{when: $.body.ok}").Success) {
		t.Errorf("else: %+v", target.Success)
	}
}
