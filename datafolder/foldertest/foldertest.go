// Package foldertest makes data folders of masters for tests that are text: whole, half done, and of others.
package foldertest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

// Folder is a data folder that commands fill and empty:
//
//	empty            it holds nothing
//	has one          it is that of the master one: its name, authority, keys, member, and memory of the store s1
//	put f text…      writes a file
//	lose f…          removes what is there
//	keep one id=s1 successor=s2
//	                 writes what the folder remembers of its store, whose member is one's
//	member one       puts one's member into it; "empty" is one that holds nothing yet, "logless" has lost its log
//	others url…      the member's database knows these others, too
//	mark moving      writes the mark of a join; moving is one that moves things aside
//	aside f…         moves them to where the mark says
//	ls               what it holds
type Folder struct {
	Dir  string
	t    *testing.T
	mark *membership.Mark
}

// New makes an empty folder.
func New(t *testing.T) *Folder { return &Folder{Dir: t.TempDir(), t: t} }

// Answer carries out a command; ok is false if it is none of these.
func (f *Folder) Answer(command string, args scenario.Args) (text string, ok bool) {
	f.t.Helper()
	switch command {
	case "empty":
		f.empty()
	case "has":
		f.has(args[0])
	case "put":
		f.put(args[0], strings.Join(args[1:], " "))
	case "lose":
		for _, name := range args {
			f.Check(os.RemoveAll(filepath.Join(f.Dir, name)))
		}
	case "keep":
		f.keep(args)
	case "member":
		f.member(args[0])
	case "others":
		f.others(args)
	case "mark":
		f.putMark(args.Word(0) == "moving")
	case "aside":
		for _, name := range args {
			f.Check(datafolder.MoveAside(f.Dir, name, f.mark.Aside))
		}
	case "ls":
		return f.list(), true
	default:
		return "", false
	}
	return "", true
}

// Check ends the test on an error.
func (f *Folder) Check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *Folder) put(name, text string) {
	f.t.Helper()
	file := filepath.Join(f.Dir, name)
	f.Check(os.MkdirAll(filepath.Dir(file), 0o700))
	f.Check(os.WriteFile(file, []byte(text+"\n"), 0o600))
}

func (f *Folder) empty() {
	f.t.Helper()
	f.Check(os.RemoveAll(f.Dir))
	f.Check(os.Mkdir(f.Dir, 0o700))
}

func (f *Folder) has(name string) {
	f.t.Helper()
	f.empty()
	f.put(datafolder.IdentityFile, name)
	for _, place := range []string{"pki", "etcd", datafolder.EncryptionFile} {
		f.Check(Of(f.t, name).put(f.Dir, place))
	}
	f.keep(scenario.Args{name, "id=s1"})
}

func (f *Folder) member(name string) {
	f.t.Helper()
	switch member := filepath.Join(f.Dir, "etcd", "member"); name {
	case "logless":
		f.Check(os.RemoveAll(filepath.Join(member, "wal")))
	case "empty":
		f.Check(os.MkdirAll(filepath.Join(member, "wal"), 0o700))
		f.Check(os.MkdirAll(filepath.Join(member, "snap"), 0o700))
	default:
		f.Check(os.RemoveAll(filepath.Join(f.Dir, "etcd")))
		f.Check(Of(f.t, name).put(f.Dir, "etcd"))
	}
}

func (f *Folder) keep(args scenario.Args) {
	f.t.Helper()
	self := Of(f.t, args.Word(0)).Self
	kept := datafolder.Kept{Cluster: membership.FormatID(self.Cluster), Member: membership.FormatID(self.Member)}
	kept.ID, _ = args.Get("id")
	kept.Origin, kept.Incarnation = membership.OriginNew, 1
	if successor, ok := args.Get("successor"); ok {
		kept.Successor = &membership.Successor{ID: successor, Incarnation: 2, Master: "two", At: time.Unix(0, 0)}
	}
	f.Check(kept.Write(f.Dir))
}

// others become members in the database of the member, as its group would have told it.
func (f *Folder) others(urls []string) {
	f.t.Helper()
	db, err := bolt.Open(filepath.Join(f.Dir, "etcd", "member", "snap", "db"), 0o600, nil)
	f.Check(err)
	f.Check(db.Update(func(tx *bolt.Tx) error {
		for n, url := range urls {
			id := uint64(n + 100)
			value, err := json.Marshal(map[string]any{"id": id, "peerURLs": []string{url}, "name": fmt.Sprintf("other%d", n+1)})
			if err != nil {
				return err
			}
			if err := tx.Bucket([]byte("members")).Put([]byte(membership.FormatID(id)), value); err != nil {
				return err
			}
		}
		return nil
	}))
	f.Check(db.Close())
}

func (f *Folder) putMark(moving bool) {
	f.t.Helper()
	aside := filepath.Join(f.Dir, datafolder.MovedPrefix+"then")
	var err error
	if moving {
		f.mark, err = membership.MarkMoving(f.Dir, aside)
	} else {
		f.mark, err = membership.NewMark(f.Dir, aside)
	}
	f.Check(err)
}

var (
	stamp = regexp.MustCompile(`\d{8}T\d{6}\.\d{3}Z|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	hash  = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	fresh = regexp.MustCompile(`\w[\w.-]*_[0-9a-f]{8}-[0-9a-f-]{27}`)
)

// Words replaces in a text what is new in each run.
func (f *Folder) Words(text string) string {
	masters.Lock()
	defer masters.Unlock()
	for name, one := range masters.made {
		text = strings.ReplaceAll(text, membership.FormatID(one.Self.Member), "M-"+name)
		text = strings.ReplaceAll(text, membership.FormatID(one.Self.Cluster), "C-"+name)
	}
	text = strings.ReplaceAll(text, f.Dir, "DIR")
	text = fresh.ReplaceAllString(text, "NEW")
	return hash.ReplaceAllString(stamp.ReplaceAllString(text, "NOW"), "HASH")
}

// list gives the files of the folder, and those that were moved aside; the database and the log as one.
func (f *Folder) list() string {
	f.t.Helper()
	var found []string
	f.Check(filepath.WalkDir(f.Dir, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(f.Dir, path)
		switch base := filepath.Base(name); {
		case err != nil || name == ".":
			return err
		case base == "etcd" || base == "pki":
			if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
				found = append(found, name+"/")
			}
			return fs.SkipDir
		case !entry.IsDir():
			found = append(found, name)
		}
		return nil
	}))
	return f.Words(strings.Join(found, " "))
}
