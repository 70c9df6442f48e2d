package main

import (
	"bufio"
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	// A process that collects at least busyCycles times a second works hard, and trades memory for time.
	busyCycles = 3
	// calmSeconds without a collection make a process idle: it then gives back what it does not use.
	calmSeconds = 8
	// worthGiving is how much unused memory makes giving it back worth a collection.
	worthGiving = 24 << 20
	// Live heaps up to these sizes may grow fivefold and threefold between collections while busy.
	smallHeap, mediumHeap = 64 << 20, 256 << 20
)

// tendMemory sets how eagerly garbage is collected by how busy the process is, until ctx ends: a small heap under load
// would be collected tens of times a second, and an idle one would keep what load has left behind. $GOGC, if it is
// set, is left alone.
func tendMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	samples := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	var last uint64
	calm, percent, tidied := 0, 100, false
	set := func(p int) {
		if p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(samples) // which, unlike runtime.ReadMemStats, stops nobody
		cycles, live := samples[0].Value.Uint64()-last, samples[1].Value.Uint64()
		last += cycles
		switch {
		case cycles >= busyCycles:
			calm = 0
			set(growth(live))
		case cycles > 0:
			calm = 0
		default:
			idle := samples[2].Value.Uint64() + samples[3].Value.Uint64()
			if calm++; calm == calmSeconds && (!tidied || idle > worthGiving) {
				tidied = true
				set(100)
				debug.FreeOSMemory()
				dropCode()
				metrics.Read(samples) // the collection just made is not load
				last = samples[0].Value.Uint64()
			}
		}
	}
}

// growth is by how many percent a live heap may grow before it is collected while the process is busy.
func growth(live uint64) int {
	switch {
	case live < smallHeap:
		return 400
	case live < mediumHeap:
		return 200
	}
	return 100
}

// dropCode unmaps the pages of code that the start touched and nothing has used since: they are read again when they
// are needed. What fails here is only not saved.
func dropCode() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	var mapping []byte // the last one that began, if it qualifies
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 2 && strings.Contains(fields[0], "-"):
			mapping = nil
			if len(fields) >= 6 && fields[5] == self && !strings.Contains(fields[1], "w") {
				mapping = span(fields[0])
			}
		// What the loader changed before it made a mapping read-only (relocations) is not in the file: only
		// mappings without a page of their own can be read again.
		case len(fields) >= 2 && fields[0] == "Private_Dirty:" && fields[1] == "0" && mapping != nil:
			_ = syscall.Madvise(mapping, syscall.MADV_DONTNEED)
		}
	}
}

// span is the memory of a line of /proc/self/smaps; nil when it cannot be read.
func span(addresses string) []byte {
	from, to, _ := strings.Cut(addresses, "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil || end <= start || end-start > math.MaxInt32 {
		return nil
	}
	first := uintptr(start)
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&first)), end-start)
}
