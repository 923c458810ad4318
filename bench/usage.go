package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

// usage is what this process has used so far.
type usage struct {
	CPU      time.Duration `json:"cpu"`       // user and system, from the role's begin to its end
	RSS      int64         `json:"rss"`       // bytes at the last look
	PeakRSS  int64         `json:"peak_rss"`  // bytes
	Heap     int64         `json:"heap"`      // bytes of objects, live or not yet swept, at the last look
	PeakHeap int64         `json:"peak_heap"` // bytes, the most of all looks
	LiveHeap int64         `json:"live_heap"` // bytes that a collection leaves, at the end; 0 if nobody looked
}

// cpu is the user and system time of this process.
func cpu() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// look reads the memory of this process. RSS comes from /proc, for getrusage's maximum is that of the parent at first.
func (u *usage) look() error {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			u.RSS = kb << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			u.PeakRSS = kb << 10
		}
	}
	u.Heap = heapObjects()
	u.PeakHeap = max(u.PeakHeap, u.Heap)
	return nil
}

// lookLive collects garbage, which changes what later looks see.
func (u *usage) lookLive() {
	runtime.GC()
	runtime.GC() // pools lose what they hold in the second one
	u.LiveHeap = heapObjects()
	u.PeakHeap = max(u.PeakHeap, u.LiveHeap) // few looks on a busy machine may all have been before it grew
}

func heapObjects() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// profiles are files to write; empty: none.
type profiles struct {
	CPUProfile string `json:"cpu_profile"`
	MemProfile string `json:"mem_profile"`
}

// profiled runs a measured role, with a CPU profile if one is wanted, and tells what it used.
func (p profiles) profiled(s *stage, run func() (usage, error)) (err error) {
	if p.CPUProfile != "" {
		file, err := os.Create(p.CPUProfile)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	used, err := run()
	if err != nil {
		return err
	}
	return s.tell(used)
}

// heap writes the heap profile, as the last collection has left it.
func (p profiles) heap() error {
	if p.MemProfile == "" {
		return nil
	}
	file, err := os.Create(p.MemProfile)
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(file), file.Close())
}
