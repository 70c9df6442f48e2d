package etcd

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// slowEvery bounds how often the operator is warned of each kind of slowness.
	slowEvery = time.Minute
	// slowApply is how long it may take to apply one request before that is worth a warning.
	slowApply = 500 * time.Millisecond
)

// watchedLog is the logger that etcd writes to. It passes on what the operator's log takes, and reads what etcd tells in
// no other way: which peers are connected, a slow disk, and why it ends.
type watchedLog struct {
	logger *zap.Logger
	e      *Embedded
	mu     sync.Mutex
	server string               // guarded by mu
	warned map[string]time.Time // guarded by mu
}

func newWatchedLog(e *Embedded) *watchedLog {
	l := &watchedLog{e: e, warned: map[string]time.Time{}}
	core := watchedCore{Core: e.o.Log.Core(), log: l}
	l.logger = zap.New(core, zap.WithFatalHook(lastWords{e}), zap.WithPanicHook(lastWords{e}))
	return l
}

// serverError is why etcd stopped by itself, as far as it said so.
func (l *watchedLog) serverError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.server
}

// watchedCore sees every message before the operator's log.
type watchedCore struct {
	zapcore.Core
	log *watchedLog
}

// Enabled implements zapcore.Core.
func (c watchedCore) Enabled(level zapcore.Level) bool {
	return level >= zapcore.InfoLevel || c.Core.Enabled(level)
}

// With implements zapcore.Core.
func (c watchedCore) With(fields []zapcore.Field) zapcore.Core {
	return watchedCore{Core: c.Core.With(fields), log: c.log}
}

// Check implements zapcore.Core.
func (c watchedCore) Check(entry zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if readers[entry.Message] != nil {
		to = to.AddCore(entry, hearing{c.log})
	}
	return c.Core.Check(entry, to)
}

// hearing is the part that reads.
type hearing struct{ log *watchedLog }

func (hearing) Enabled(zapcore.Level) bool                                            { return true }
func (r hearing) With([]zapcore.Field) zapcore.Core                                   { return r }
func (hearing) Sync() error                                                           { return nil }
func (hearing) Check(_ zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry { return to }
func (r hearing) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	found := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(found)
	}
	readers[entry.Message](r.log, found.Fields)
	return nil
}

// readers are the messages that are read, by etcd's own words.
var readers = map[string]func(*watchedLog, map[string]any){
	"peer became active": func(l *watchedLog, f map[string]any) { l.e.peers.set(text(f["peer-id"]), true) },
	"peer became inactive (message send to peer failed)": func(l *watchedLog, f map[string]any) {
		l.e.peers.set(text(f["peer-id"]), false)
	},
	"server error": func(l *watchedLog, f map[string]any) {
		l.mu.Lock()
		l.server = text(f["error"])
		l.mu.Unlock()
	},
	"slow fdatasync": func(l *watchedLog, f map[string]any) {
		l.slow("the disk is slow: writing the log of the store took %v; masters need a disk that syncs in milliseconds", f["took"])
	},
	"leader failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk": func(l *watchedLog, f map[string]any) {
		l.slow("this master is overloaded, or its disk is slow: its heartbeat to the other masters was late by %v", f["exceeded-duration"])
	},
	"apply request took too long": func(l *watchedLog, f map[string]any) {
		if took, err := time.ParseDuration(text(f["took"])); err != nil || took < slowApply {
			return
		}
		l.slow("the store is slow: one request took %v", f["took"])
	},
}

func text(v any) string { return fmt.Sprint(v) }

// slow warns, but of each kind only once in slowEvery.
func (l *watchedLog) slow(format string, took any) {
	l.mu.Lock()
	again := time.Since(l.warned[format]) < slowEvery
	if !again {
		l.warned[format] = time.Now()
	}
	l.mu.Unlock()
	if !again {
		l.e.o.Warn(fmt.Sprintf(format, took))
	}
}

// lastWords is what happens where etcd would end the process: a start fails, and a member that runs tells why the
// process must end.
type lastWords struct{ e *Embedded }

// OnWrite implements zapcore.CheckWriteHook. It never returns.
func (w lastWords) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	why := entry.Message
	for _, f := range fields {
		if f.Type == zapcore.ErrorType {
			why = fmt.Sprintf("%s: %v", why, f.Interface)
		}
	}
	if starts() {
		panic(why)
	}
	w.e.gate.fail.Store(true)
	w.e.o.Fatal(errors.New(why))
	select {} // what called this cannot go on, and must not unwind: it may hold what others would take for whole
}

// starts tells whether the caller runs inside of the start of a member, where a panic becomes an error.
func starts() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "/embed.StartEtcd") {
			return true
		}
		if !more {
			return false
		}
	}
}
