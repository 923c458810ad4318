package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// lineWidth is how long lines are made where the width of a terminal does not say.
const lineWidth = 110

// Terminal says that lines may be redrawn, and how.
type Terminal struct {
	Color bool
	// Width gives the columns there are now.
	Width func() int
}

// screen writes lines that stay and, on a terminal, a few lines below them that are drawn again and again. Its methods may be called
// from any goroutine.
type screen struct {
	out      io.Writer
	terminal *Terminal // nil: plain lines only
	begun    time.Time

	mu    sync.Mutex
	below []string // the lines that are redrawn
	drawn int      // how many of them stand on the terminal
}

func newScreen(out io.Writer, t *Terminal) *screen {
	return &screen{out: out, terminal: t, begun: time.Now()}
}

func (s *screen) live() bool { return s.terminal != nil }

func (s *screen) width() int {
	if s.terminal == nil {
		return lineWidth
	}
	return min(max(s.terminal.Width()-1, 40), 140)
}

// tagWidth is the column in which the text of a told line begins.
const tagWidth = 22

// tell writes what happened: the time since the start, a word that says what it is about, the text.
func (s *screen) tell(tag, format string, args ...any) {
	at := fmt.Sprintf("%6.2fs  ", time.Since(s.begun).Seconds())
	head := at + s.paint(tagColor(tag), fmt.Sprintf("%-*s", tagWidth-len(at), tag))
	lines := wrap(fmt.Sprintf(format, args...), s.width()-tagWidth)
	for i := range lines {
		if i > 0 {
			head = strings.Repeat(" ", tagWidth)
		}
		lines[i] = head + lines[i]
	}
	s.write(lines)
}

// detail writes lines that belong to the one told before; a long one goes on in the next line.
func (s *screen) detail(lines ...string) {
	var out []string
	for _, l := range lines {
		for _, part := range chunks(l, max(s.width()-tagWidth, 40)) {
			if part != "" {
				part = strings.Repeat(" ", tagWidth) + s.paint(dim, part)
			}
			out = append(out, part)
		}
	}
	s.write(out)
}

// text writes a text of several lines as it is.
func (s *screen) text(text string) { s.write(strings.Split(strings.TrimSuffix(text, "\n"), "\n")) }

// redraw replaces the lines below; without a terminal it does nothing.
func (s *screen) redraw(lines []string) {
	if !s.live() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.below = lines
	s.flush(nil)
}

func (s *screen) write(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush(lines)
}

// flush writes lines above the lines below, in one write, so that nothing flickers. The lock is held.
func (s *screen) flush(lines []string) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA\x1b[J", s.drawn) // to the line's begin (a ^C may stand there), up, and clear to the end
	}
	for _, l := range lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	s.drawn = len(s.below)
	for _, l := range s.below {
		b.WriteString(s.fit(l))
		b.WriteByte('\n')
	}
	_, _ = io.WriteString(s.out, b.String()) // who does not read any more has nothing to be told
}

// fit cuts a line to the terminal's width: a line that wraps would make the next redraw begin one line too low.
func (s *screen) fit(line string) string {
	most, plain := s.width(), 0
	for i := 0; i < len(line); {
		if line[i] == 0x1b {
			end := strings.IndexByte(line[i:], 'm')
			if end < 0 {
				return line[:i]
			}
			i += end + 1
			continue
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		if plain++; plain > most {
			return line[:i] + s.paint("", "")
		}
		i += size
	}
	return line
}

// Colours as the terminal knows them.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func tagColor(tag string) string {
	switch tag {
	case "outage", "dead letter":
		return red
	case "breaker", "retry", "busy":
		return yellow
	case "request", "record":
		return cyan
	case "lag":
		return green
	}
	return bold
}

// paint gives text in a colour, where colours are wanted. An empty text ends the colour of what was cut off.
func (s *screen) paint(color, text string) string {
	if s.terminal == nil || !s.terminal.Color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// wrap breaks a text at blanks into lines of at most width; a longer word keeps its length. Line breaks of the text stay.
func wrap(text string, width int) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		current := ""
		for _, word := range strings.Fields(line) {
			if current != "" && utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word) > width {
				out, current = append(out, current), ""
			}
			if current != "" {
				current += " "
			}
			current += word
		}
		out = append(out, current)
	}
	return out
}

// chunks cuts a text into parts of at most so many characters, behind a comma or a blank if there is one in the second half.
func chunks(text string, most int) []string {
	var out []string
	chars := []rune(text)
	for len(chars) > most {
		end := most
		for at := most; at > most/2; at-- {
			if chars[at-1] == ',' || chars[at-1] == ' ' {
				end = at
				break
			}
		}
		out, chars = append(out, string(chars[:end])), chars[end:]
	}
	return append(out, string(chars))
}

// thousands writes a number with separators.
func thousands(n int) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
