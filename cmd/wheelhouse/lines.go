package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/coreos/go-systemd/v22/journal"
)

// lines writes the log as short lines for a person: time, level, message, and what belongs to it. A message is one line,
// whatever was put into it.
type lines struct {
	out    *output
	least  slog.Leveler
	prefix string
	// journal: each line begins with its level as systemd's journal reads it, and takes it off.
	journal bool
}

// output is shared by all handlers that were made from one.
type output struct {
	mu sync.Mutex // guards to
	to io.Writer
}

func newLines(to io.Writer, least slog.Leveler) *lines {
	return &lines{out: &output{to: to}, least: least, journal: journalled(to)}
}

// Enabled implements slog.Handler.
func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= l.least.Level() }

// Handle implements slog.Handler.
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	if l.journal {
		b.WriteString(journalLevel(r.Level))
	}
	b.WriteString(r.Time.Format("2006-01-02 15:04:05.000 "))
	b.WriteString(levelName(r.Level) + ": " + inOneLine(r.Message) + l.prefix)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, a)
		return true
	})
	b.WriteByte('\n')
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	_, err := l.out.to.Write(b.Bytes())
	return err
}

func writeAttr(b *bytes.Buffer, a slog.Attr) {
	fmt.Fprintf(b, " %s=%s", inOneLine(a.Key), inOneLine(a.Value.Resolve().String()))
}

// inOneLine quotes what would break a line, or make a reader's terminal do something.
func inOneLine(s string) string {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return strconv.Quote(s)
	}
	return s
}

// WithAttrs implements slog.Handler.
func (l *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	b := bytes.NewBufferString(l.prefix)
	for _, a := range attrs {
		writeAttr(b, a)
	}
	return &lines{out: l.out, least: l.least, prefix: b.String(), journal: l.journal}
}

// WithGroup implements slog.Handler; groups are not shown.
func (l *lines) WithGroup(string) slog.Handler { return l }

// journalLevel is a level as systemd's journal reads it at the beginning of a line: those of syslog.
func journalLevel(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}

// journalled tells whether what is written there goes to systemd's journal.
func journalled(to io.Writer) bool {
	if to != os.Stderr {
		return false
	}
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}
