package backups

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

const (
	// A backup that failed is tried again after backupRetryMin, doubled with each failure up to backupRetryMax.
	backupRetryMin = time.Minute
	backupRetryMax = time.Hour
	// backupLook is how often the clock is looked at: a machine that slept, or whose clock was set, is not late for longer.
	backupLook = 30 * time.Second
)

// Check finds what cannot work.
func (b *Plan) Check(dataDir string) error {
	if b.Schedule == "" {
		return nil
	}
	schedule, err := cron.ParseStandard(b.Schedule)
	if err != nil {
		return fmt.Errorf("--backup-schedule %q is no schedule: give five fields (0 3 * * *), @daily or @every 6h: %w", b.Schedule, err)
	}
	if every, ok := strings.CutPrefix(b.Schedule, "@every "); ok {
		// What is shorter is taken for a second by cron.
		if d, err := time.ParseDuration(every); err == nil && d < time.Second {
			return fmt.Errorf("--backup-schedule %q: give a second or more, such as @every 6h", b.Schedule)
		}
	}
	if schedule.Next(time.Now()).IsZero() {
		return fmt.Errorf("--backup-schedule %q: that day never comes", b.Schedule)
	}
	switch {
	case dataDir == "":
		return errors.New("--backup-schedule: this master keeps its data in memory only")
	case len(b.Vaults) == 0:
		return errors.New("--backup-schedule needs a place: give --backup-dir or --backup-s3-bucket")
	case b.Lock == nil && !b.WithoutKeys:
		return fmt.Errorf("--backup-schedule: %w", backup.ErrNoLock)
	}
	return nil
}

// Keep makes backups by the schedule for one term of the controllers, and writes events through a transport of that term. What was
// missed is made up for once.
func (b *Backups) Keep(ctx context.Context, events client.Transport) error {
	if b.Schedule == "" {
		<-ctx.Done()
		return nil
	}
	schedule, err := cron.ParseStandard(b.Schedule)
	if err != nil {
		return err
	}
	recorder := client.NewRecorder(events, "wheelhouse-backup")
	go recorder.Run(ctx)
	defer b.Metrics.Hide()
	k := &keeper{Backups: b, schedule: schedule, events: recorder}
	look := time.NewTicker(backupLook)
	defer look.Stop()
	for ctx.Err() == nil {
		wait := time.NewTimer(k.step(ctx))
		select {
		case <-wait.C:
		case <-look.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
	return nil
}

// keeper makes the backups of one term.
type keeper struct {
	*Backups
	schedule cron.Schedule
	events   *client.Recorder
	loaded   bool
	// served is the time of the schedule up to which all is done, or when the schedule began.
	served time.Time
	// retry is when a backup that failed is tried again; zero without a failure.
	retry    time.Time
	failures int
	// made is a backup that a try has brought only to the vaults in have; nil without one.
	made *backup.Manifest
	have []backup.Vault
}

// step makes a backup if one is due, and tells after what time to look again.
func (k *keeper) step(ctx context.Context) time.Duration {
	now := time.Now()
	if !k.loaded {
		record, _, err := k.readRecord(ctx)
		if err != nil {
			return time.Second
		}
		k.load(record, now)
	}
	k.setBack(now)
	if due := k.due(); now.Before(due) {
		return due.Sub(now)
	}
	k.ended(now, k.run(ctx, now))
	return 0
}

// due is when the next backup is: at the next time of the schedule, or when one that failed is tried again. A time of the
// schedule that has passed, because no master ran, is due at once, and any number of them are one.
func (k *keeper) due() time.Time {
	due := k.schedule.Next(k.served)
	if k.retry.After(due) {
		return k.retry
	}
	return due
}

// setBack goes on from the present when the clock was set back, or the schedule would rest until the former time comes again.
func (k *keeper) setBack(now time.Time) {
	if k.served.After(now) {
		k.served = now
	}
	if k.retry.After(now.Add(backupRetryMax)) {
		k.retry = now
	}
}

// ended goes on from a backup that was begun at a time.
func (k *keeper) ended(begun time.Time, err error) {
	if err == nil {
		k.served, k.retry, k.failures = begun, time.Time{}, 0
		k.made, k.have = nil, nil
		return
	}
	k.retry = begun.Add(min(backupRetryMin<<min(k.failures, 10), backupRetryMax))
	k.failures++
}

// load continues from what is remembered. A schedule that begins makes its first backup when it says so.
func (k *keeper) load(record *backup.Record, now time.Time) {
	k.loaded, k.served = true, record.Served
	if record.Success != nil {
		k.Metrics.Succeeded(record.Success.Time, record.Success.Size, record.Success.Seconds)
	}
	if k.served.IsZero() || k.served.After(now) {
		k.served = now
		err := k.record(context.Background(), func(r *backup.Record) { r.Served = now.UTC() })
		if err != nil {
			k.Warn("the backup schedule could not be noted: %v", err)
		}
	}
}

// make makes a backup in all vaults. Of one that only some vaults have taken, further tries bring copies to the others, until the
// schedule asks for the next: a new one with each try would have the retention drop the good ones of the days before.
func (k *keeper) make(ctx context.Context, from backup.Source, now time.Time) (*backup.Manifest, []backup.Vault, error) {
	if k.made != nil && now.Before(k.schedule.Next(k.made.Time)) {
		have, err := backup.Complete(ctx, k.made, k.have, k.Vaults, nil)
		if !errors.Is(err, backup.ErrNotFound) {
			k.have = have
			return k.made, have, err
		}
		// Somebody has removed it.
	}
	var err error
	k.made, k.have, err = backup.CreateIn(ctx, from, k.Vaults, backup.CreateOptions{
		Lock: k.Lock, WithoutKeys: k.WithoutKeys, Reader: Reader, Temporary: k.DataDir,
	})
	return k.made, k.have, err
}

// run makes one backup in all vaults, and then removes what the retention does not want.
func (k *keeper) run(ctx context.Context, now time.Time) error {
	manifest, have, err := k.make(ctx, k.Backups, now)
	if ctx.Err() != nil {
		return ctx.Err() // the next leader makes it
	}
	if manifest != nil {
		err = errors.Join(err, k.prune(ctx, manifest, have))
	}
	outcome := backup.Outcome{Time: time.Now().UTC().Truncate(time.Second), Master: k.Self, Seconds: time.Since(now).Seconds()}
	if err == nil {
		var vaults []string
		for _, v := range have {
			vaults = append(vaults, v.String())
		}
		outcome = backup.Succeeded(manifest, vaults, now, time.Now(), k.Self)
		k.Metrics.Succeeded(outcome.Time, outcome.Size, outcome.Seconds)
		k.Log("backup %s: revision %d, %d objects, %d MiB in %.1f s", manifest.Name, manifest.Revision, manifest.Objects, manifest.Size()>>20, outcome.Seconds)
		k.event(corev1.EventTypeNormal, "BackupSucceeded", fmt.Sprintf("Backup %s of revision %d with %d objects was made and verified", manifest.Name, manifest.Revision, manifest.Objects))
	} else {
		outcome.Error = err.Error()
		k.Metrics.Failed()
		k.Warn("the scheduled backup failed: %v", err)
		k.event(corev1.EventTypeWarning, "BackupFailed", "The scheduled backup failed: "+err.Error())
	}
	noted := k.record(ctx, func(r *backup.Record) {
		r.Add(outcome)
		if err == nil {
			r.Served = now.UTC()
		}
	})
	if noted != nil {
		k.Warn("the outcome of a backup could not be noted: %v", noted)
	}
	return err
}

func (k *keeper) prune(ctx context.Context, made *backup.Manifest, have []backup.Vault) error {
	var failed []error
	for _, v := range have {
		removed, err := backup.Prune(ctx, v, backup.PruneOptions{Retention: k.Retention, Cluster: made.Cluster, Signers: []string{made.Signer}, Trusted: made.Name})
		for _, b := range removed {
			k.Log("backup %s was removed from %s (%s)", b.Name, v, b.State)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("old backups in %s: %w", v, err))
		}
	}
	return errors.Join(failed...)
}

// eventMax bounds an event's message, as upstream does.
const eventMax = 1024

func (k *keeper) event(kind, reason, message string) {
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: metav1.NamespaceSystem, Namespace: metav1.NamespaceSystem}
	k.events.Event(about, kind, reason, message[:min(len(message), eventMax)])
}
