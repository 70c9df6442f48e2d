package etcd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// The operator is warned of a slow disk in plain words, not too often, and his log takes nothing that he did not ask for.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	var warnings []string
	core, logged := observer.New(zapcore.ErrorLevel)
	e := &Embedded{o: Options{Log: zap.New(core), Warn: func(m string) { warnings = append(warnings, m) }}, gate: newGate(), peers: newPeerStates()}
	l := newWatchedLog(e)
	for range 3 {
		l.logger.Warn("slow fdatasync", zap.Duration("took", 1500*time.Millisecond))
		l.logger.Warn("apply request took too long", zap.Duration("took", 2*time.Second), zap.String("request", "x"))
		l.logger.Warn("apply request took too long", zap.Duration("took", 150*time.Millisecond))
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "disk is slow") || !strings.Contains(warnings[0], "1.5s") || !strings.Contains(warnings[1], "2s") {
		t.Errorf("%q", warnings)
	}
	l.warned["apply request took too long"] = time.Time{}
	clear(l.warned)
	l.logger.Warn("slow fdatasync", zap.Duration("took", 1500*time.Millisecond))
	if len(warnings) != 3 {
		t.Errorf("%q", warnings)
	}
	l.logger.Error("an error")
	if logged.Len() != 1 {
		t.Errorf("%v", logged.All())
	}
}

// Where etcd would end the process the reason is told, and the store can be closed.
func TestFatal(t *testing.T) {
	t.Parallel()
	why := make(chan error, 1)
	e := open(t, Options{Fatal: func(err error) { why <- err }})
	go e.gate.member().log.logger.Fatal("failed to save Raft hard state and entries", zap.Error(errors.New("no space left on device")))
	wantError(t, <-why, "failed to save Raft hard state and entries: no space left on device")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.gate.fail.Store(false)
	e.gate.member().leave() // the test's own process goes on
}
