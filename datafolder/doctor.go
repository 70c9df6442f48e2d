package datafolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/encryption"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// Diagnosis is what the data folder of a master that does not run holds.
type Diagnosis struct {
	Folder   string `json:"folder"`
	Identity string `json:"identity,omitempty"`
	// Store is the identity of the cluster's data; nil if the folder does not say.
	Store *membership.Store `json:"store,omitempty"`
	// External is the external etcd, in the words of the folder.
	External string `json:"external,omitempty"`
	// Member of the embedded store; nil without one.
	Member *MemberDiagnosis `json:"member,omitempty"`
	// Certificates and the fingerprints of the Keys that encrypt secrets, newest last.
	Certificates []pki.Description `json:"certificates,omitempty"`
	Keys         []string          `json:"keys,omitempty"`
	// Strays are entries that no master wrote.
	Strays []string `json:"strays,omitempty"`
	// Remarks are no harm; Problems are, each with what to do.
	Remarks  []string `json:"remarks,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// MemberDiagnosis is the part that is etcd's.
type MemberDiagnosis struct {
	Cluster  string        `json:"cluster"`
	ID       string        `json:"id"`
	Members  []etcd.Member `json:"members,omitempty"`
	Revision int64         `json:"revision"`
	Keys     int           `json:"keys"`
	Size     int64         `json:"sizeBytes"`
	// Checked tells that all values were compared with what was written, up to CheckedTo; without it only their form was.
	Checked   bool  `json:"checked"`
	CheckedTo int64 `json:"checkedTo,omitempty"`
	// Whole is false if something is damaged; Problems says what.
	Whole bool `json:"whole"`
}

// Diagnose reads a data folder and changes nothing in it. pkiDir is empty if it is pki in the data folder. An error says that there is
// nothing to read.
func Diagnose(dir, pkiDir string, now time.Time) (*Diagnosis, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	if pkiDir == "" {
		pkiDir = filepath.Join(dir, "pki")
	}
	if err := unused(dir); err != nil {
		return nil, err
	}
	d := &Diagnosis{Folder: dir}
	known := false
	for _, e := range entries {
		if written(e.Name()) {
			known = known || e.Name() == "pki" || slices.Contains(proofs, e.Name())
		} else {
			d.Strays = append(d.Strays, e.Name())
		}
	}
	if !known {
		return nil, fmt.Errorf("%s is no data folder of a master", dir)
	}
	if cut, err := CutFirstStart(dir); cut && err == nil { // what is damaged is found below
		d.remark("its first start did not come to its end: start it again")
		return d, nil
	}
	d.whose(dir)
	d.authority(pkiDir, dir, now)
	d.secrets(dir)
	d.member(dir, pkiDir)
	return d, nil
}

// unused refuses a folder on which a master runs: what is read would change meanwhile.
func unused(dir string) error {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the data folder cannot be read: %w", err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("a master runs on %s: ask it, with wheelhouse status, or stop it first", dir)
	}
	return nil
}

func (d *Diagnosis) problem(format string, args ...any) {
	d.Problems = append(d.Problems, fmt.Sprintf(format, args...))
}

func (d *Diagnosis) remark(format string, args ...any) {
	d.Remarks = append(d.Remarks, fmt.Sprintf(format, args...))
}

// whose reads the files that name master and store.
func (d *Diagnosis) whose(dir string) {
	if text, err := os.ReadFile(filepath.Join(dir, IdentityFile)); err == nil {
		d.Identity = strings.TrimSpace(string(text))
	} else if errors.Is(err, fs.ErrNotExist) {
		d.remark("there is no file %s: no master has started on this folder yet, or the next start makes the file again from the store", IdentityFile)
	} else {
		d.problem("%v", err)
	}
	kept, err := ReadKept(dir)
	switch {
	case err != nil:
		d.problem("%v", err)
	case kept == nil:
		d.remark("the folder does not say which store's its data are; the next good start writes it down")
	default:
		d.Store = &kept.Store
		if s := kept.Successor; s != nil {
			d.problem("its store was superseded on %s by %s, incarnation %d, at %s: these data are out of date for good; empty the folder and join it anew",
				s.At.UTC().Format(time.RFC3339), s.ID, s.Incarnation, s.Master)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, ExternalFile)); err == nil {
		d.External = strings.TrimSpace(string(text))
	}
	if mark, err := membership.ReadMark(dir); err == nil && mark != nil && mark.Moving {
		d.problem("a join with --replace was cut off while it moved the old data to %s: the next start puts them back", mark.Aside)
	} else if err == nil && mark != nil {
		d.problem("%v", CutOff(dir, mark))
	}
	if _, err := os.Stat(filepath.Join(dir, RestoringFile)); err == nil {
		d.problem("a restore into it was cut off: run wheelhouse backup restore again")
	}
	if _, err := os.Stat(filepath.Join(dir, RecoveringFile)); err == nil {
		d.problem("a recovery from a lost quorum was cut off: the next start goes on with it, and makes this the only master")
	}
	if _, err := os.Stat(filepath.Join(dir, RecoveredFile)); err == nil {
		d.remark("it was made the only master by --recover-quorum, and has not been started without since")
	}
}

// soon is how long before its end a certificate that only a running master renews is worth a word.
const soon = 30 * 24 * time.Hour

func (d *Diagnosis) authority(pkiDir, dir string, now time.Time) {
	all, err := pki.List(pkiDir)
	if err != nil {
		d.problem("certificates: %v: restore the folder from a backup", err)
		return
	}
	if admin, err := pki.DescribeKubeconfig(KubeconfigFile, Kubeconfig(dir)); err == nil {
		all = append(all, admin)
	} else if !errors.Is(err, fs.ErrNotExist) {
		d.problem("%v: remove the file, and the next start makes another", err)
	}
	d.Certificates = all
	if !slices.ContainsFunc(all, func(c pki.Description) bool { return c.Kind == "authority" && c.Name == "ca" }) {
		d.problem("%s holds no authority: restore it from a backup", pkiDir)
		return
	}
	for _, c := range all {
		renewed := "the next start renews it"
		if c.Kind == "authority" || c.Kind == "trusted" {
			renewed = "rotate the authority with wheelhouse certs rotate-ca once the master runs"
		} else if c.Renews == nil {
			renewed = "renew it where the authority's key is"
		}
		switch left := c.Left(now); {
		case left < 0 && c.Kind == "authority":
			d.problem("the authority %s ended on %s: %s", c.Name, c.NotAfter.UTC().Format(time.DateOnly), renewed)
		case left < 0:
			d.remark("the certificate %s ended on %s: %s", c.Name, c.NotAfter.UTC().Format(time.DateOnly), renewed)
		case left < soon:
			d.remark("the certificate %s ends on %s: %s", c.Name, c.NotAfter.UTC().Format(time.DateOnly), renewed)
		}
	}
}

// secrets reads the key file, and says nothing of the keys but their fingerprints.
func (d *Diagnosis) secrets(dir string) {
	file := filepath.Join(dir, EncryptionFile)
	managed, err := encryption.ReadManaged(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if d.Identity != "" {
			d.remark("there is no %s: unless --encryption-provider-config is used, secrets in the store cannot be read without it", file)
		}
	case err != nil:
		d.problem("%v: restore it from a backup; without it the secrets in the store are lost", err)
	default:
		prints := managed.KeyPrints()
		for name := range prints {
			d.Keys = append(d.Keys, name+" "+prints[name])
		}
		slices.Sort(d.Keys)
		if unfinished := managed.Unfinished(); unfinished != "" {
			d.remark("encryption: %s", unfinished)
		}
	}
}

func (d *Diagnosis) member(dir, pkiDir string) {
	missing := ""
	if folder, err := Read(dir, pkiDir); err == nil { // else what is wrong is told already, or below
		missing = folder.Missing()
	}
	x, err := etcd.Examine(filepath.Join(dir, "etcd"))
	if x == nil || !x.Member {
		switch {
		case err != nil:
			d.problem("%v", err)
		case d.External == "" && (d.Identity != "" || missing != ""):
			d.problem("its etcd/ is missing or empty, and it has been a master: mount its disk, restore a backup, or let it join anew")
		}
		return
	}
	d.Member = &MemberDiagnosis{
		Cluster: membership.FormatID(x.Cluster), ID: membership.FormatID(x.Self), Members: x.Members, Revision: x.Revision, Keys: x.Keys,
		Size: x.Size, Checked: x.Ledger, CheckedTo: x.LedgerRevision, Whole: err == nil,
	}
	if err != nil {
		d.problem("%v", err)
		return
	}
	if x.Remark != "" {
		d.remark("%s", x.Remark)
	}
	if !x.Ledger {
		d.remark("values could be checked for their form only: there is no ledger of what was written yet")
	}
	if missing != "" {
		d.problem("%s: put its own back, or restore a backup", missing)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "etcd", etcd.RemovedName)); err == nil {
		d.problem("it was removed from its cluster: %s", strings.TrimSpace(string(text)))
	}
}
