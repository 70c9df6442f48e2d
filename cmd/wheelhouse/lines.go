package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// lines writes the log as short lines for a person: time, message, and what belongs to it.
type lines struct {
	mu     sync.Mutex // guards to
	to     io.Writer
	prefix string
}

// Enabled implements slog.Handler.
func (*lines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	b.WriteString(r.Time.Format("15:04:05.000 "))
	if r.Level >= slog.LevelWarn {
		b.WriteString(strings.ToLower(r.Level.String()) + ": ")
	}
	b.WriteString(r.Message + l.prefix)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	b.WriteByte('\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.to.Write(b.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (l *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	prefix := l.prefix
	for _, a := range attrs {
		prefix += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	return &lines{to: l.to, prefix: prefix}
}

// libraries passes on what Kubernetes' libraries log, but for what the master tells better: they log each single value that
// cannot be encrypted or decrypted, without its name.
type libraries struct{ slog.Handler }

// Handle implements slog.Handler.
func (l *libraries) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "failed to decrypt data" || r.Message == "failed to encrypt data" {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (l *libraries) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &libraries{l.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (l *libraries) WithGroup(name string) slog.Handler { return &libraries{l.Handler.WithGroup(name)} }

// WithGroup implements slog.Handler; groups are not shown.
func (l *lines) WithGroup(string) slog.Handler { return l }
