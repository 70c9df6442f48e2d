package encryption

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics"
)

// FollowEvery is how often Follow looks whether the file has changed.
const FollowEvery = 2 * time.Second

// Bounds of the time for which a new configuration's plugins are waited for.
const (
	pluginsMin   = 10 * time.Second
	pluginsRetry = 100 * time.Millisecond
)

// Bounds of the time for which writes under the former configuration are waited for.
const (
	writesPatience = time.Minute
	writesLook     = time.Millisecond
)

// Follow reloads the configuration when the file's content changes, until ctx ends. A file that cannot be used leaves the
// present configuration in force; failed is told why, once for each content.
func (s *Store) Follow(ctx context.Context, every time.Duration, failed func(error)) {
	var last string
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.Reload(ctx)
		if err == nil {
			last = ""
			continue
		}
		if text := err.Error(); text != last {
			last = text
			failed(err)
		}
	}
}

// Reload makes the file's present content the configuration, if it has changed and all of its plugins answer.
func (s *Store) Reload(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	hash, err := encryptionconfig.GetEncryptionConfigHash(s.o.File)
	if err == nil && hash == s.Hash() {
		return nil
	}
	if err == nil {
		err = s.change(ctx)
	}
	if err != nil {
		metrics.RecordEncryptionConfigAutomaticReloadFailure(s.o.ID)
		return err
	}
	metrics.RecordEncryptionConfigAutomaticReloadSuccess(s.o.ID, s.Hash())
	s.o.Changed()
	return nil
}

// change loads the file and puts it in force. It is called with loading held.
func (s *Store) change(ctx context.Context) error {
	next, err := s.load(s.life)
	if err != nil {
		return err
	}
	if err := next.plugins(ctx); err != nil {
		next.close()
		return fmt.Errorf("the plugins of the encryption configuration %s do not work: %w", s.o.File, err)
	}
	former := s.present.Swap(next)
	// Who changes keys relies on it that nothing is stored any more under the former rules.
	for deadline := time.Now().Add(writesPatience); former.writing.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(writesLook)
	}
	// Requests that began with the former transformers may still wait for their plugins.
	time.AfterFunc(former.config.KMSCloseGracePeriod, former.close)
	return nil
}

// plugins waits until all plugins answer.
func (r *rules) plugins(ctx context.Context) error {
	patience := max(pluginsMin, r.config.KMSCloseGracePeriod)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, check := range r.config.HealthChecks {
		for {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/healthz/"+check.Name(), nil)
			if err != nil {
				return err
			}
			if err = check.Check(request); err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(pluginsRetry):
			}
		}
	}
	return nil
}
