package control

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"streamer/control/secret"
	"streamer/control/service"
	"streamer/sink"
)

// An instance says in the status topic where it is called, and calls are passed on there with the caller's credential. So that nobody who
// can write the topic, and no more, has credentials sent to him, what is said is proven: by a text that only the installation's secret key
// can have sealed, for this id and this address, and when. Each report has a new one, so that a report of an instance that is gone, whose
// address may be somebody else's by now, cannot be repeated for long.

// proofHolds is how far the time in a proof may be from that of its report. It leaves room for clocks that differ.
const proofHolds = 5 * time.Minute

// proofOf is what a proof is sealed for. No job or connection is of such a kind, so that none of their secrets opens as one.
func proofOf(i Self) secret.Place {
	return secret.Place{"the address of an instance", i.ID, i.Advertise}
}

// prove gives the proof of an instance's address, of a time; none without a key.
func prove(keys *secret.Keyring, i Self, now time.Time) string {
	proof, err := keys.Seal(sink.Secret(now.UTC().Format(time.RFC3339)), proofOf(i))
	if err != nil { // there is no key
		return ""
	}
	return proof
}

// sameKeys is what to do about an instance that is not believed.
const sameKeys = "; give all instances the same STREAMER_SECRET_KEY"

// doubt says why an instance is not called at the address that it said at a time, and what to do; empty: it is called. Without a key nothing can be proven, and only
// this machine is believed: whoever answers elsewhere, also by https, may be anybody. apart says that it is for the clocks.
func doubt(keys *secret.Keyring, me string, i Self, said time.Time) (why string, apart bool) {
	if i.ID == me {
		return "", false
	}
	if keys.ID() == "" {
		if u, err := url.Parse(i.Advertise); err == nil && service.Loopback(u.Host) {
			return "", false
		}
		return "it is on another machine, and this instance has no secret key to know its address by" + sameKeys, false
	}
	if i.Proof == "" {
		return "it does not prove its address: it has no secret key, or is older than this" + sameKeys, false
	}
	sealed, err := keys.Open(i.Proof, proofOf(i))
	var unopened *secret.OpenError
	switch {
	case errors.As(err, &unopened) && unopened.NoKey:
		return "its address is proven with key " + unopened.KeyID + ", which is not here" + sameKeys, false
	case err != nil:
		return "its address is not the one that it has proven: somebody else wrote it, or has its name; see who may write the status topic", false
	}
	proven, err := time.Parse(time.RFC3339, sealed.Reveal())
	off, clock := said.Sub(proven), "behind"
	if off < 0 {
		off, clock = -off, "ahead of"
	}
	if err != nil || off > proofHolds { // without the very time: the log would tell of each report
		return fmt.Sprintf("its address was proven by a clock that is more than %v %s this one's, or somebody repeats what it said then; set the clocks of all machines", proofHolds, clock), err == nil
	}
	return "", false
}

// tell says in the log which instances are not believed, when that changes.
func (s *Supervisor) tell(news []Self) {
	for _, i := range news {
		if i.Doubt == "" {
			s.options.Log.Info("the instance is believed now", "instance", i.ID, "advertise", i.Advertise)
			continue
		}
		s.options.Log.Warn("an instance is not believed: no call is passed on to it", "instance", i.ID, "advertise", i.Advertise, "cause", i.Doubt)
	}
}
