package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/term"

	cliflag "k8s.io/component-base/cli/flag"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// service says where a service of systemd is installed.
type service struct {
	name string
	// units and settings are folders: of the unit, and of the file with the flags for joining. programs is where the program is copied
	// to if it is not in a place of the system's.
	units, settings, programs string
	out                       io.Writer
}

func newService(out io.Writer) *service {
	return &service{units: "/etc/systemd/system", settings: "/etc/wheelhouse", programs: "/usr/local/bin", out: out}
}

func (s *service) unitFile() string { return filepath.Join(s.units, s.name+".service") }
func (s *service) joinFile() string { return filepath.Join(s.settings, s.name+".join") }

var serviceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:_.-]*$`)

func (s *service) check() error {
	if !serviceName.MatchString(s.name) {
		return usageError{fmt.Errorf("--service-name %q is not the name of a service", s.name)}
	}
	return nil
}

func installCommand() *cobra.Command { return installCommandOf(newService(os.Stdout)) }

func installCommandOf(s *service) *cobra.Command {
	config := master.Default()
	f := &serverFlags{config: &config}
	sets := f.sections()
	own := sets.FlagSet("service")
	var printOnly, noStart bool
	own.StringVar(&s.name, "service-name", "wheelhouse", "Name of the service.")
	own.BoolVar(&printOnly, "print", false, "Print the unit, and change nothing.")
	own.BoolVar(&noStart, "no-start", false, "Enable the service, and do not start it.")
	c := &cobra.Command{
		Use:   "install",
		Short: "Make a master a service of systemd, enable and start it",
		Long: `Make a master a service of systemd, enable and start it, with the flags that wheelhouse server takes:
for a first master, or with --join, --token and --discovery-token-ca-cert-hash for one that joins.

It may be run again with other flags: the unit is written anew and the master restarted. Its data
stay as they are, here and with wheelhouse uninstall.`,
		Args:          noArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			s.out = c.OutOrStdout()
			if err := s.check(); err != nil {
				return err
			}
			if err := f.complete(); err != nil {
				return usageError{err}
			}
			for _, name := range []string{backupPassphraseVariable, backupPassphraseFileVariable, backupKeyFileVariable} {
				if os.Getenv(name) != "" {
					return usageError{fmt.Errorf("the service does not get $%s: use the flags --backup-passphrase-file or --backup-key-file", name)}
				}
			}
			u, join, err := s.unitFor(f, c)
			if err != nil {
				return err
			}
			if printOnly {
				text, err := u.text()
				fmt.Fprint(s.out, text)
				return err
			}
			return s.install(c.Context(), u, join, !noStart)
		},
	}
	for _, name := range sets.Order {
		c.Flags().AddFlagSet(sets.FlagSets[name])
	}
	width, _, _ := term.TerminalSize(c.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(c, sets, width)
	return c
}

// unitFor makes the unit from the command line.
func (s *service) unitFor(f *serverFlags, c *cobra.Command) (u *unit, join []string, err error) {
	u = &unit{LowPort: f.config.SecurePort != 0 && f.config.SecurePort < 1024 || f.config.PeerPort != 0 && f.config.PeerPort < 1024}
	if u.Program, err = s.program(); err != nil {
		return nil, nil, err
	}
	if u.Args, join, err = givenFlags(c.Flags()); err != nil {
		return nil, nil, err
	}
	// Flags of install itself are none of the server's.
	u.Args = slices.DeleteFunc(u.Args, func(word string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		return name == "service-name" || name == "print" || name == "no-start"
	})
	config := f.config
	if u.DataDir, err = filepath.Abs(config.DataDir); err != nil {
		return nil, nil, err
	}
	if !c.Flags().Changed("data-dir") { // what the environment says now must not depend on the service's
		u.Args = append([]string{"--data-dir=" + u.DataDir}, u.Args...)
	}
	// The unit lets the master write where its flags say, and nowhere else; what lies within another such folder needs no line.
	u.Writable = []string{u.DataDir}
	for _, dir := range []string{config.PKIDir, f.backups.dir, filepath.Dir(config.Kubeconfig)} {
		if dir == "" || dir == "." {
			continue
		}
		if dir, err = filepath.Abs(dir); err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(u.Writable, func(w string) bool { return within(dir, w) }) {
			u.Writable = append(u.Writable, dir)
		}
	}
	// A service sees no home folders unless one of its flags names something there.
	for _, word := range append(slices.Clone(u.Args), u.Writable...) {
		_, path, _ := strings.Cut(word, "=")
		path = cmp.Or(path, word)
		u.Home = u.Home || slices.ContainsFunc([]string{"/home", "/root", "/run/user"}, func(home string) bool { return within(path, home) })
	}
	if len(join) > 0 {
		u.JoinFile = s.joinFile()
	}
	return u, join, nil
}

// within tells whether a path is a folder or lies in it.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// systemPrograms are folders whose programs are there for services at every start.
var systemPrograms = []string{"/usr", "/opt", "/bin", "/sbin"}

// program is where the service will find it.
func (s *service) program() (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", fmt.Errorf("the program cannot be found: %w", err)
	}
	if slices.ContainsFunc(systemPrograms, func(dir string) bool { return within(self, dir) }) {
		return self, nil
	}
	return filepath.Join(s.programs, "wheelhouse"), nil // install copies it: a home or temporary folder may be gone at the next start
}

func (s *service) install(ctx context.Context, u *unit, join []string, start bool) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	text, err := u.text()
	if err != nil {
		return err
	}
	for _, dir := range u.Writable {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := s.copyProgram(u.Program); err != nil {
		return err
	}
	if len(join) > 0 {
		flags, err := environment(join)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(s.settings, 0o755); err != nil {
			return err
		}
		// Before the unit that reads it, and for root alone: it has the token.
		if err := durable.Replace(s.joinFile(), []byte(flags), 0o600); err != nil {
			return fmt.Errorf("%s cannot be written: %w", s.joinFile(), err)
		}
	}
	if err := durable.Replace(s.unitFile(), []byte(text), 0o644); err != nil {
		return fmt.Errorf("%s cannot be written: %w", s.unitFile(), err)
	}
	fmt.Fprintf(s.out, "%s was written\n", s.unitFile())
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	if err := systemctl(ctx, "enable", s.name); err != nil {
		return err
	}
	if !start {
		fmt.Fprintf(s.out, "%s is enabled; start it with systemctl start %s\n", s.name, s.name)
		return nil
	}
	if err := systemctl(ctx, "restart", s.name); err != nil {
		return fmt.Errorf("%w: see journalctl -u %s", err, s.name)
	}
	fmt.Fprintf(s.out, "%s runs; its data are in %s, and its log is shown by journalctl -u %s\n", s.name, u.DataDir, s.name)
	return nil
}

// copyProgram puts this program where the service finds it, unless it is there.
func (s *service) copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(self); err == nil && real == to {
		return nil
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err = durable.ReplaceWith(to, 0o755, func(w io.Writer) error {
		_, err := io.Copy(w, from)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", to, err)
	}
	fmt.Fprintf(s.out, "%s was copied from %s\n", to, self)
	return nil
}

// usable tells whether this machine's services are systemd's, and this user's to change.
func (s *service) usable(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("services are root's: run this as root")
	}
	out, err := exec.CommandContext(ctx, "systemctl", "is-system-running").CombinedOutput()
	state := strings.TrimSpace(string(out)) // the exit status is not 0 for a machine that is merely degraded
	if errors.Is(err, exec.ErrNotFound) || state == "offline" || state == "" {
		return errors.New("this machine is not run by systemd: wheelhouse install --print shows a unit to translate, and wheelhouse server runs a master by itself")
	}
	return nil
}

func systemctl(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "systemctl", args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Run(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}

func uninstallCommand() *cobra.Command {
	s := newService(os.Stdout)
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the service that wheelhouse install made, and remove it; its data stay",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s.out = c.OutOrStdout()
			if err := s.check(); err != nil {
				return err
			}
			return s.uninstall(c.Context())
		},
	}
	c.Flags().StringVar(&s.name, "service-name", "wheelhouse", "Name of the service.")
	return c
}

// dataFolder is what a unit of ours names.
var dataFolder = regexp.MustCompile(`(?m)^RequiresMountsFor=(.*)$`)

func (s *service) uninstall(ctx context.Context) error {
	text, err := os.ReadFile(s.unitFile())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s: name the service with --service-name", s.unitFile())
	}
	if err != nil {
		return err
	}
	// Whoever wrote a unit of that name by hand keeps it.
	if !bytes.HasPrefix(text, []byte("# Written by wheelhouse install")) {
		return fmt.Errorf("%s was not written by wheelhouse install: it stays", s.unitFile())
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := systemctl(ctx, "disable", "--now", s.name); err != nil {
		return err
	}
	for _, file := range []string{s.unitFile(), s.joinFile()} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s was stopped and removed", s.name)
	if found := dataFolder.FindSubmatch(text); found != nil {
		fmt.Fprintf(s.out, "; its data stay in %s", found[1])
	}
	fmt.Fprintln(s.out)
	return nil
}
