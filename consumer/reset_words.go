package consumer

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Seek is where a partition is to be set, as one of the words of ParseSeek.
type Seek struct {
	kind seekKind
	n    int64         // an offset, or a shift
	at   time.Time     // a time
	ago  time.Duration // a duration, more than or equal to 0
}

type seekKind uint8

const (
	seekEarliest seekKind = iota
	seekLatest
	seekOffset
	seekShift
	seekTime
	seekAgo
)

// seekWords says what ParseSeek takes.
const seekWords = "say earliest, latest, an offset (1500), a shift (+100, -100), a time (2026-01-31T12:00:00Z), or how long ago (-2h, -7d)"

// ParseSeek reads where partitions are to be set:
//
//	earliest               the start of the log
//	latest                 its end
//	1500                   an offset
//	+100, -100             so many offsets after or before the committed one
//	2026-01-31T12:00:00Z   the first record at or after a time (RFC 3339)
//	-2h, -90m, -1d12h      the first record at or after the time that long ago
//
// The error is a *ResetError that says so.
func ParseSeek(text string) (Seek, error) {
	wrong := func(why string) (Seek, error) {
		return Seek{}, &ResetError{Field: "to", Cause: fmt.Sprintf("%q %s", text, why), Mend: seekWords}
	}
	switch text {
	case AtEarliest:
		return Seek{kind: seekEarliest}, nil
	case AtLatest:
		return Seek{kind: seekLatest}, nil
	case "":
		return wrong("says not where to go on")
	}
	signed, digits := text[0] == '+' || text[0] == '-', strings.TrimLeft(text, "+-")
	if isDigits(digits) && len(text)-len(digits) <= 1 {
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			return wrong("is no offset that Kafka can have")
		case signed:
			return Seek{kind: seekShift, n: n}, nil
		}
		return Seek{kind: seekOffset, n: n}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return Seek{kind: seekTime, at: at}, nil
	}
	if !signed {
		return wrong("is nothing of what is understood")
	}
	ago, err := parseAgo(text[1:])
	switch {
	case err != nil:
		return wrong("is nothing of what is understood")
	case text[0] == '+' && ago > 0:
		return wrong("lies ahead: no record has that time yet")
	}
	return Seek{kind: seekAgo, ago: ago}, nil
}

// maxDays is the longest ago in days, a hundred years.
const maxDays = 36_500

// parseAgo reads a duration as Go writes it, with days before it.
func parseAgo(text string) (time.Duration, error) {
	var days time.Duration
	if before, after, ok := strings.Cut(text, "d"); ok && isDigits(before) {
		n, err := strconv.Atoi(before)
		if err != nil || n > maxDays {
			return 0, fmt.Errorf("more than %d days", maxDays)
		}
		days, text = time.Duration(n)*24*time.Hour, after
		if text == "" {
			return days, nil
		}
	}
	if text == "" || text[0] == '+' || text[0] == '-' {
		return 0, fmt.Errorf("no duration")
	}
	d, err := time.ParseDuration(text)
	if err == nil && (d < 0 || d > maxDays*24*time.Hour) {
		err = fmt.Errorf("more than %d days", maxDays)
	}
	return days + d, err
}

func isDigits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// String gives the word that ParseSeek reads as s.
func (s Seek) String() string {
	switch s.kind {
	case seekLatest:
		return AtLatest
	case seekOffset:
		return strconv.FormatInt(s.n, 10)
	case seekShift:
		return fmt.Sprintf("%+d", s.n)
	case seekTime:
		return s.at.Format(time.RFC3339Nano)
	case seekAgo:
		return "-" + s.ago.String()
	}
	return AtEarliest
}

// fixed is s with the time that it means, where it counts from now.
func (s Seek) fixed(now time.Time) Seek {
	if s.kind == seekAgo {
		return Seek{kind: seekTime, at: now.Add(-s.ago).UTC().Truncate(time.Millisecond)}
	}
	return s
}

// milli is the time as Kafka is asked for it. What is before 1970 is asked for as 1970: negative ones mean something else.
func (s Seek) milli() int64 { return max(s.at.UnixMilli(), 0) }
