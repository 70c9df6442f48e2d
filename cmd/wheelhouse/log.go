package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// logFlags say how a command that runs for long logs: --v and --vmodule as upstream's programs have them.
type logFlags struct {
	format    string
	verbosity verbosity
	modules   string
}

var logFormats = []string{"text", "json"}

func (f *logFlags) add(s *pflag.FlagSet) {
	f.format = logFormats[0]
	const usage = "Form of the log's lines: text, or json with one object a line."
	s.StringVar(&f.format, "log-format", f.format, usage)
	s.StringVar(&f.format, "logging-format", f.format, "Upstream's name of --log-format.")
	s.VarP(&f.verbosity, "v", "v", "How much is logged: 0 what an operator should know, 4 and more for looking for a fault.")
	s.StringVar(&f.modules, "vmodule", "", "Other levels of --v for files of Kubernetes' libraries: PATTERN=LEVEL, separated by commas.")
}

// start makes the log of this process, which the libraries write to as well.
func (f *logFlags) start(to io.Writer) error {
	if !slices.Contains(logFormats, f.format) {
		return usageError{fmt.Errorf("--log-format %q: use text or json", f.format)}
	}
	var handler slog.Handler = newLines(to, f.verbosity)
	if f.format == "json" {
		handler = slog.NewJSONHandler(to, &slog.HandlerOptions{Level: f.verbosity, ReplaceAttr: namedLevel})
	}
	of := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(of)
	if err := of.Set("v", f.verbosity.String()); err != nil {
		return usageError{fmt.Errorf("--v: %w", err)}
	}
	if err := of.Set("vmodule", f.modules); err != nil {
		return usageError{fmt.Errorf("--vmodule: %w", err)}
	}
	slog.SetDefault(slog.New(handler))
	klog.SetSlogLogger(slog.New(&libraries{handler}))
	return nil
}

// verbosity is upstream's scale. Libraries log at a level V as slog's -V, which makes slog's own debug level 4.
type verbosity int

func (v *verbosity) String() string { return strconv.Itoa(int(*v)) }
func (v *verbosity) Type() string   { return "int" }

// Set implements pflag.Value.
func (v *verbosity) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 || n > math.MaxInt8 {
		return fmt.Errorf("%q is not a level: use 0 to %d", text, math.MaxInt8)
	}
	*v = verbosity(n)
	return nil
}

// Level implements slog.Leveler.
func (v verbosity) Level() slog.Level { return slog.Level(-int(v)) }

// levelName tells a level without slog's arithmetic: the levels between its four belong to the one below.
func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warn"
	case l >= slog.LevelInfo:
		return "info"
	default:
		return "debug"
	}
}

func namedLevel(groups []string, a slog.Attr) slog.Attr {
	if l, ok := a.Value.Any().(slog.Level); ok && len(groups) == 0 && a.Key == slog.LevelKey {
		a.Value = slog.StringValue(levelName(l))
	}
	return a
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
