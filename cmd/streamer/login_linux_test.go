package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// terminal is a pseudo-terminal: what somebody types on and sees, and what the program has.
func terminal(t *testing.T) (seen, program *os.File) {
	t.Helper()
	seen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = seen.Close() })
	control := func(request uintptr, value *uint32) {
		t.Helper()
		raw, err := seen.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var errno syscall.Errno
		err = raw.Control(func(fd uintptr) {
			_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(value)))
		})
		if err != nil || errno != 0 {
			t.Fatal(err, errno)
		}
	}
	var unlock, number uint32
	control(syscall.TIOCSPTLCK, &unlock)
	control(syscall.TIOCGPTN, &number)
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return seen, program
}

// A password that is typed does not show, and the terminal shows what is typed again afterwards: also after Ctrl-C.
func TestPasswordDoesNotShow(t *testing.T) {
	t.Parallel()
	base, _, _ := openNight(t, persons{})
	for _, stopped := range []bool{false, true} {
		seen, program := terminal(t)
		cmd := exec.CommandContext(t.Context(), "streamer", "login", "--user", "ada", "--url", base)
		cmd.Env = []string{"HOME=" + t.TempDir()}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var screen bytes.Buffer
		until := func(text string) {
			t.Helper()
			for b := make([]byte, 1024); !strings.Contains(screen.String(), text); {
				n, err := seen.Read(b)
				screen.Write(b[:n])
				if err != nil {
					t.Fatalf("%v after %q", err, screen.String())
				}
			}
		}
		typed := func(text string) {
			t.Helper()
			if _, err := seen.WriteString(text); err != nil {
				t.Fatal(err)
			}
		}
		until("password: ")
		for echoes(t, program) { // it asks first, and looks away then
		}
		if stopped {
			typed("twelve\x03")
			until("nothing was done")
		} else {
			typed("twelve letters\n")
			until("is the current one")
		}
		if err := cmd.Wait(); (err != nil) != stopped {
			t.Errorf("stopped %v: %v", stopped, err)
		}
		if strings.Contains(screen.String(), "twelve") {
			t.Errorf("it shows the password: %q", screen.String())
		}
		if !echoes(t, program) {
			t.Errorf("stopped %v: what is typed afterwards does not show", stopped)
		}
	}
}

// echoes tells whether a terminal shows what is typed.
func echoes(t *testing.T, program *os.File) bool {
	t.Helper()
	var state syscall.Termios
	raw, err := program.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TCGETS, uintptr(unsafe.Pointer(&state)))
	})
	if err != nil || errno != 0 {
		t.Fatal(err, errno)
	}
	return state.Lflag&syscall.ECHO != 0
}
