package consumer

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Effect is how a changed definition takes effect on a job that runs.
type Effect uint8

// The effects, from the least to the most. EffectNone touches no row: the job goes on as it is, with another commit interval, drain,
// retention or guard, say. EffectNextAttempt holds from the next attempt of every row on; requests stay what they were, but for what the sink
// adds. EffectRemap makes the requests of unfinished records anew. All of these are for Runner.Change; EffectRejoin leaves the group and
// joins it, or another one, as another runner.
const (
	EffectNone Effect = iota
	EffectNextAttempt
	EffectRemap
	EffectRejoin
)

var effectWords = [...]string{"none", "next attempt", "drain and re-map", "rejoin"}

// String gives the effect in words.
func (e Effect) String() string { return effectWords[e] }

// MarshalText implements encoding.TextMarshaler.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *Effect) UnmarshalText(text []byte) error {
	n := slices.Index(effectWords[:], string(text))
	if n < 0 {
		return fmt.Errorf("%q is no effect; there are %s", text, strings.Join(effectWords[:], ", "))
	}
	*e = Effect(n)
	return nil
}

// Effect says how a change from c to next takes effect; Runner.Change says which field does what. Programs are compared by what
// they were compiled of, paths by what they were compiled to: in doubt they differ. Neither c nor next needs its defaults filled in.
func (c Config) Effect(next Config) Effect {
	c, next = c.Defaults(), next.Defaults()
	switch {
	case c.Job != next.Job, c.Namespace != next.Namespace, c.Group != next.Group, c.Instance != next.Instance, c.Pattern != next.Pattern,
		!slices.Equal(slices.Sorted(slices.Values(c.Topics)), slices.Sorted(slices.Values(next.Topics))):
		return EffectRejoin
	case c.Order.By != next.Order.By, !c.Schemas.Equal(next.Schemas), c.Tombstone != next.Tombstone,
		c.IdempotencyHeader != next.IdempotencyHeader, c.PositionHeaders != next.PositionHeaders,
		!reflect.DeepEqual(c.Order.Path, next.Order.Path), !c.Program.Same(next.Program):
		return EffectRemap
	case !sameSink(c, next), c.otherLetters(next):
		return EffectNextAttempt
	}
	return EffectNone
}

// otherLetters says that dead letters, or what tells of answers, go elsewhere, or keys wait behind them otherwise.
func (c Config) otherLetters(next Config) bool {
	return c.Callback != next.Callback || c.Response != next.Response || c.DeadLetterTopic != next.DeadLetterTopic || c.DeadLetterTopic != "" && c.DeadLetterPark != next.DeadLetterPark
}

func sameSink(c, next Config) bool {
	a, b := c.Sink, next.Sink
	if a.RootCAs != b.RootCAs && (a.RootCAs == nil || b.RootCAs == nil || !a.RootCAs.Equal(b.RootCAs)) {
		return false
	}
	if a.Shared != b.Shared { // what is in it changes all the time, under a lock of its own
		return false
	}
	a.RootCAs, b.RootCAs, a.Shared, b.Shared = nil, nil, nil, nil
	a.Places, b.Places = slices.Clone(a.Places), slices.Clone(b.Places)
	for i := range a.Places {
		if i >= len(b.Places) || a.Places[i].Shared != b.Places[i].Shared {
			return false
		}
		a.Places[i].Shared, b.Places[i].Shared = nil, nil
	}
	return reflect.DeepEqual(a, b)
}
