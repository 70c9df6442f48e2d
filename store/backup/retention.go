package backup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Retention says which backups are kept: a backup stays while any of the rules wants it. The newest good one always stays.
type Retention struct {
	// Last keeps that many of the newest good backups; 0 is no rule.
	Last int
	// Within keeps those that are younger; 0 is no rule.
	Within time.Duration
}

// ParseRetention reads rules that are separated by commas: a number of backups ("7" or "keep=7") or an age ("14d", "36h", "8w").
// Nothing keeps all.
func ParseRetention(text string) (Retention, error) {
	var r Retention
	for _, rule := range strings.Split(text, ",") {
		rule = strings.TrimSpace(rule)
		if rule == "" {
			continue
		}
		number, err := strconv.Atoi(strings.TrimPrefix(rule, "keep="))
		switch {
		case err == nil && number > 0 && r.Last == 0:
			r.Last = number
			continue
		case err == nil && number <= 0:
			return r, fmt.Errorf("retention %q: at least one backup is kept", rule)
		case err == nil:
			return r, fmt.Errorf("retention %q: the number of backups is given twice", text)
		}
		age, err := parseAge(rule)
		if err != nil {
			return r, fmt.Errorf("retention %q: give a number of backups (7), an age (14d, 36h, 8w), or both separated by a comma", rule)
		}
		if r.Within != 0 {
			return r, fmt.Errorf("retention %q: the age is given twice", text)
		}
		r.Within = age
	}
	return r, nil
}

func parseAge(text string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, err := strconv.Atoi(strings.TrimSuffix(text, unit)); err == nil && strings.HasSuffix(text, unit) && n > 0 {
			if time.Duration(n) > math.MaxInt64/length {
				return 0, errors.New("too long")
			}
			return time.Duration(n) * length, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("not positive")
	}
	return d, err
}

// None tells that there is no rule, so that all is kept.
func (r Retention) None() bool { return r.Last == 0 && r.Within == 0 }

// UnfinishedAge is how long ago something must last have changed in an unfinished backup for it to be taken for the left-over of a
// write that was interrupted.
const UnfinishedAge = 24 * time.Hour

// expired chooses what to remove; all is sorted, oldest first. Each cluster's backups are judged by themselves. A damaged
// backup goes when it would go if it were good, but never before there is a newer good one. No backup makes room for what somebody
// else has put there: if the signers are known, theirs alone count, and others go as damaged ones do; if not, each
// signer's are judged by themselves, and those that nobody has signed stay.
func (r Retention) expired(all []Backup, signers []string, now time.Time, unfinished time.Duration) []Backup {
	var out []Backup
	newer := map[string]int{} // good ones that are newer, by cluster and signer
	total := 0
	for i := len(all) - 1; i >= 0; i-- {
		b := all[i]
		if b.State == Unfinished {
			if now.Sub(b.changed) >= unfinished {
				out = append(out, b)
			}
			continue
		}
		good := total
		if b.Manifest != nil {
			good = newer[b.group(signers)]
		}
		if b.later || b.Manifest != nil && b.Manifest.Signer == "" && len(signers) == 0 {
			continue
		}
		if !r.None() && good > 0 && good >= r.Last && (r.Within == 0 || now.Sub(b.Time) >= r.Within) {
			out = append(out, b)
		}
		if b.counts(signers) {
			newer[b.group(signers)]++
			total++
		}
	}
	return out
}

// counts tells whether a backup stands for its cluster, so that older ones may go.
func (b *Backup) counts(signers []string) bool {
	return b.State == Good && (len(signers) == 0 || slices.Contains(signers, b.Manifest.Signer))
}

// group of those that are judged together.
func (b *Backup) group(signers []string) string {
	if len(signers) > 0 {
		return b.Manifest.Cluster
	}
	return b.Manifest.Cluster + "\n" + b.Manifest.Signer
}

// PruneOptions of Prune.
type PruneOptions struct {
	Retention Retention
	// Cluster whose backups are judged; empty means all clusters, each by itself.
	Cluster string
	// Signers whose backups count; none means that nobody's are known to be the cluster's.
	Signers []string
	// Unfinished is the age from which on left-overs are removed; 0 means UnfinishedAge, negative leaves them alone.
	Unfinished time.Duration
	// DryRun only tells what would be removed.
	DryRun bool
	// Trusted is a backup that was just verified: it need not be read again.
	Trusted  string
	Progress Progress
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Prune removes what the retention does not want, and what interrupted writes have left. Before a good backup goes, the newest
// good one of its cluster is read and its hashes compared; if they are wrong it is marked and the choice is made anew.
func Prune(ctx context.Context, v Vault, o PruneOptions) ([]Backup, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Unfinished == 0 {
		o.Unfinished = UnfinishedAge
	}
	sound := map[string]bool{o.Trusted: true}
	for {
		all, err := List(ctx, v)
		if err != nil {
			return nil, err
		}
		out := o.Retention.expired(o.ofCluster(all), o.Signers, o.Now(), o.unfinished())
		// A backup of a clock that was ahead sorts behind the one that was just made.
		out = slices.DeleteFunc(out, func(b Backup) bool { return b.Name == o.Trusted })
		if o.DryRun {
			return out, nil
		}
		again, err := o.check(ctx, v, all, out, sound)
		if err != nil {
			return nil, err
		}
		if again {
			continue
		}
		for i, b := range out {
			if err := v.Clear(ctx, b.Name); err != nil {
				return out[:i], fmt.Errorf("backup %s cannot be removed: %w", b.Name, err)
			}
		}
		return out, nil
	}
}

func (o *PruneOptions) unfinished() time.Duration {
	if o.Unfinished < 0 {
		return 1<<63 - 1
	}
	return o.Unfinished
}

func (o *PruneOptions) ofCluster(all []Backup) []Backup {
	if o.Cluster == "" {
		return all
	}
	var own []Backup
	for _, b := range all {
		if b.Manifest == nil || b.Manifest.Cluster == o.Cluster {
			own = append(own, b)
		}
	}
	return own
}

// check reads the newest good backups of the clusters that are about to lose one; again tells that one was found damaged.
func (o *PruneOptions) check(ctx context.Context, v Vault, all, out []Backup, sound map[string]bool) (again bool, err error) {
	affected := map[string]bool{}
	for _, b := range out {
		if b.Manifest != nil {
			affected[b.group(o.Signers)] = true
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		b := &all[i]
		if !b.counts(o.Signers) || !affected[b.group(o.Signers)] {
			continue
		}
		delete(affected, b.group(o.Signers))
		if sound[b.Name] {
			continue
		}
		err := b.Manifest.hashes(ctx, v, o.Progress)
		switch {
		case errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound):
			if err := mark(ctx, v, b.Name, err, o.Now()); err != nil {
				return false, err
			}
			again = true
		case err != nil:
			return false, fmt.Errorf("nothing was removed, since the newest backup cannot be read: %w", err)
		}
		sound[b.Name] = true
	}
	return again, nil
}

// hashes compares the hashes of all files.
func (m *Manifest) hashes(ctx context.Context, v Vault, progress Progress) error {
	for file := range m.Files {
		if err := m.hash(ctx, v, file, progress); err != nil {
			return err
		}
	}
	return nil
}
