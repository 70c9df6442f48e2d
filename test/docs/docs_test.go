package docs

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// binVariable is the folder of the commands that pages use, made before the program has no network any more.
const binVariable = "WHEELHOUSE_TEST_BIN"

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var env []string
	if !process.Isolated() {
		bin, err := os.MkdirTemp("", "docs")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		if err := commands(bin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		env = append(env, binVariable+"="+bin)
	}
	code, done, err := process.Isolate(env...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if done {
		return code
	}
	return m.Run()
}

// commands fills a folder with what pages call.
func commands(bin string) error {
	binary, err := process.Build("../..", bin)
	if err != nil {
		return err
	}
	if err := os.Symlink(binary, filepath.Join(bin, "kubectl")); err != nil {
		return err
	}
	files, err := pages()
	if err != nil {
		return err
	}
	all := ""
	for _, text := range files {
		found, err := blocks(text)
		if err != nil {
			continue // TestPages says so
		}
		for _, b := range found {
			all += b.text
		}
	}
	for _, tool := range []string{"etcd", "etcdctl", "etcdutl", "versitygw"} {
		if !regexp.MustCompile(`(?m)^\s*` + tool + ` `).MatchString(all) {
			continue
		}
		program, err := process.Tool(tool)
		if err != nil {
			return err
		}
		if err := os.Symlink(program, filepath.Join(bin, tool)); err != nil {
			return err
		}
	}
	return nil
}

// pages are the texts of docs/ by file name.
func pages() (map[string]string, error) {
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out[filepath.Base(name)] = string(text)
	}
	if len(out) == 0 {
		return nil, errors.New("there are no pages")
	}
	return out, nil
}

// TestPages runs the commands of every page.
func TestPages(t *testing.T) {
	files, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		all, err := blocks(files[file])
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if len(all) == 0 {
			continue
		}
		t.Run(strings.TrimSuffix(file, ".md"), func(t *testing.T) {
			if !process.Isolated() { // without hosts only the grammar can be looked at
				grammar(t, file, all)
				return
			}
			if said, err := try(t, all); err != nil {
				t.Errorf("docs/%s:%v\n%s", file, err, said)
			}
		})
	}
}

// try runs blocks in a fresh network; an error begins with the line of the block that failed.
func try(t *testing.T, all []block) (string, error) {
	t.Helper()
	network, err := process.NewNetwork(len(hosts))
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	s, err := newShell(t.TempDir(), os.Getenv(binVariable), network)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	said := ""
	for _, b := range all {
		if said, err = s.run(b); err != nil {
			return said, fmt.Errorf("%d: %w", b.line, err)
		}
	}
	return said, nil
}

func grammar(t *testing.T, file string, all []block) {
	t.Helper()
	for _, b := range all {
		cmd := exec.Command("bash", "-n")
		cmd.Stdin = strings.NewReader(b.text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s:%d: %v\n%s", file, b.line, err, out)
		}
	}
}

// TestShell tries the words that pages can use, and that a failing command is noticed.
func TestShell(t *testing.T) {
	const page = "Text.\n" +
		"```sh\nA=1\ncd /\nwheelhouse version\n```\n" +
		"```sh on=second\ntest \"$A\" = 1\ntest \"$PWD\" = \"$HOME\"\ntest \"$HOME\" != \"$HOMES/first\"\nkubectl version --client\n```\n" +
		"```console\nfalse\n```\n" +
		"```sh on=third background\nwheelhouse server\n```\n" +
		"```sh\nwheelhouse kubectl --kubeconfig $HOMES/third/data/admin.kubeconfig --server https://$THIRD:6443 get --raw /readyz\n```\n" +
		"<!--sh\nstop third\ncp $HOMES/third/data/identity $HOME\n-->\n" +
		"```sh on=third background\nwheelhouse server\n```\n" +
		"<!--sh\ncrash third\n-->\n"
	all, err := blocks(page)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 7 || all[1].host != "second" || !all[2].background || all[0].background || all[3].line != 19 {
		t.Errorf("%+v", all)
	}
	grammar(t, "page", all)
	if !process.Isolated() {
		return
	}
	if said, err := try(t, all); err != nil {
		t.Errorf("line %v\n%s", err, said)
	}
	for name, text := range map[string]string{
		"a failing command":            "```sh\nfalse\ntrue\n```\n",
		"in a pipe":                    "```sh\nfalse | true\n```\n",
		"on another host":              "```sh on=second\nfalse\ntrue\n```\n",
		"a server that does not start": "```sh background\nwheelhouse server --no-such-flag\n```\n",
	} {
		all, err := blocks(text)
		if err != nil {
			t.Fatal(err)
		}
		if said, err := try(t, all); err == nil {
			t.Errorf("%s went unnoticed:\n%s", name, said)
		} else if !strings.HasPrefix(err.Error(), "1: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"```sh on=fourth\n```\n", "```sh\n", "```sh backgroud\n```\n"} {
		if _, err := blocks(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
