package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// started makes the log that a command line asks for, and gives what is written to it.
func started(t *testing.T, args ...string) *bytes.Buffer {
	t.Helper()
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	var f logFlags
	s := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.add(s)
	if err := s.Parse(args); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.start(&b); err != nil {
		t.Fatal(err)
	}
	return &b
}

// say logs at every level, as our own code and as libraries do.
func say() {
	slog.Debug("ours fine")
	slog.Info("ours", "key", "value")
	slog.With("beside", 1).Warn("ours\nin two lines", "error", errors.New("no\x1b[2J way"))
	klog.Background().V(2).Info("theirs at two")
	klog.Background().V(5).Info("theirs at five")
	klog.Background().Error(errors.New("why"), "theirs", "key", "value")
	klog.Flush()
}

func TestTextLog(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "info: ours key=value|warn: \"ours\\nin two lines\" beside=1 error=\"no\\x1b[2J way\"|error: theirs err=why key=value"},
		{[]string{"--v=2"}, "info: ours key=value|warn: \"ours\\nin two lines\" beside=1 error=\"no\\x1b[2J way\"|debug: theirs at two|error: theirs err=why key=value"},
		{[]string{"-v", "5"}, "debug: ours fine|info: ours key=value|warn: \"ours\\nin two lines\" beside=1 error=\"no\\x1b[2J way\"|debug: theirs at two|debug: theirs at five|error: theirs err=why key=value"},
	} {
		b := started(t, c.args...)
		say()
		stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} `)
		var got []string
		for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
			if !stamp.MatchString(line) {
				t.Errorf("%v: a line without a time: %q", c.args, line)
			}
			got = append(got, stamp.ReplaceAllString(line, ""))
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%v:\n got %s\nwant %s", c.args, strings.Join(got, "|"), c.want)
		}
	}
}

func TestJSONLog(t *testing.T) {
	b := started(t, "--log-format=json", "--v=4")
	say()
	var levels []string
	for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		var entry struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time == "" || entry.Msg == "" {
			t.Errorf("%q: %v", line, err)
		}
		levels = append(levels, entry.Level)
	}
	if got := strings.Join(levels, " "); got != "debug info warn debug error" {
		t.Errorf("levels: %s\n%s", got, b)
	}
}

func TestWrongLogFlags(t *testing.T) {
	for _, args := range [][]string{{"--log-format=xml"}, {"--v=many"}, {"--v=-1"}, {"--v=99999999999"}, {"--vmodule=x"}} {
		var f logFlags
		s := pflag.NewFlagSet("test", pflag.ContinueOnError)
		f.add(s)
		err := s.Parse(args)
		if err == nil {
			err = f.start(&bytes.Buffer{})
		}
		if err == nil || !strings.Contains(err.Error(), strings.TrimLeft(strings.Split(args[0], "=")[0], "-")) {
			t.Errorf("%v: error %v", args, err)
		}
	}
}

// TestJournalLevels: in systemd's journal each line begins with its level.
func TestJournalLevels(t *testing.T) {
	var b bytes.Buffer
	l := newLines(&b, verbosity(4))
	l.journal = true
	log := slog.New(l).With("key", "value")
	log.Error("one")
	log.Warn("two")
	log.Info("three")
	log.Debug("four")
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		got = append(got, line[:3])
	}
	if want := []string{"<3>", "<4>", "<6>", "<7>"}; !slices.Equal(got, want) {
		t.Errorf("levels %q, want %q", got, want)
	}
}
