package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress shows on a terminal how far something has come; elsewhere it is silent.
type progress struct {
	to    io.Writer // nil if silent
	phase string
	begun time.Time // of the phase
	shown time.Time
	width int // of what stands in the line
}

// progressEvery is how often the line changes.
const progressEvery = 100 * time.Millisecond

func newProgress(to io.Writer) *progress {
	f, ok := to.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{to: to}
}

// tell is a backup.Progress.
func (p *progress) tell(phase string, done, total int64) {
	if p.to == nil {
		return
	}
	now := time.Now()
	if phase != p.phase {
		p.end()
		p.phase, p.begun = phase, now
	} else if now.Sub(p.shown) < progressEvery && done != total {
		return
	}
	p.shown = now
	line := fmt.Sprintf("%-8s %s", phase, mebibytes(done))
	if total > 0 {
		line += fmt.Sprintf(" of %s, %d %%", mebibytes(total), min(done*100/total, 100))
	}
	if seconds := now.Sub(p.begun).Seconds(); seconds > 0.2 {
		line += fmt.Sprintf(", %s/s", mebibytes(int64(float64(done)/seconds)))
	}
	// Spaces cover what the line before had more.
	fmt.Fprint(p.to, "\r"+line+strings.Repeat(" ", max(p.width-len(line), 0)))
	p.width = len(line)
}

// end finishes the line.
func (p *progress) end() {
	if p.to != nil && p.width > 0 {
		fmt.Fprintln(p.to)
		p.width = 0
	}
}

func mebibytes(n int64) string {
	if n < 10<<20 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
