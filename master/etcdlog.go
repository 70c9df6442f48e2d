package master

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// tooEarly is what etcd says as an error when it looks at its own database before the first commit. It looks again a
// few seconds later; a member that is elected within milliseconds is often that early.
const tooEarly = "failed to update storage version"

// etcdDebug is the level of the master's own log from which on etcd's warnings and messages are shown, too: most warn of
// what is said better in other words, or of what an operator can do nothing about.
const etcdDebug = slog.LevelDebug

// etcdLog passes on what an operator must know of etcd: errors, and everything when looking for a fault.
func etcdLog() *zap.Logger { return zap.New(etcdCore{}) }

// etcdCore writes etcd's messages to the process's log.
type etcdCore struct{ fields []zapcore.Field }

// Enabled implements zapcore.Core.
func (etcdCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.ErrorLevel || l >= zapcore.InfoLevel && slog.Default().Enabled(context.Background(), etcdDebug)
}

// With implements zapcore.Core.
func (c etcdCore) With(fields []zapcore.Field) zapcore.Core {
	return etcdCore{append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements zapcore.Core.
func (c etcdCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Message == tooEarly || !c.Enabled(e.Level) {
		return to
	}
	return to.AddCore(e, c)
}

// Write implements zapcore.Core.
func (c etcdCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	found := zapcore.NewMapObjectEncoder()
	args := []any{"from", "etcd"}
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		if f.Type == zapcore.SkipType {
			continue
		}
		f.AddTo(found)
		args = append(args, f.Key, found.Fields[f.Key])
	}
	level := etcdDebug
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	slog.Log(context.Background(), level, e.Message, args...)
	return nil
}

// Sync implements zapcore.Core.
func (etcdCore) Sync() error { return nil }
