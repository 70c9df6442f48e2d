package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// notify tells the service manager, if it is systemd and asks for it, that the master is ready, that it is alive, and that it
// stops. It returns when ctx ends.
func notify(ctx context.Context, m *master.Master) {
	tell := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			slog.Warn("the service manager cannot be told of the master's state", "error", err)
		}
	}
	select {
	case <-m.Ready():
		tell(daemon.SdNotifyReady + "\nSTATUS=ready at " + m.URL())
	case <-ctx.Done():
		tell(daemon.SdNotifyStopping)
		return
	}
	defer tell(daemon.SdNotifyStopping)
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil || within == 0 {
		<-ctx.Done()
		return
	}
	// Four times in the time that is allowed: one answer that is late, or lost, gets nobody killed.
	every := time.NewTicker(within / 4)
	defer every.Stop()
	for {
		if answers(ctx, m, within/4) {
			tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// answers tells whether the master answers at all. What it answers does not matter: a master that waits for others, or for its
// disk, is not mended by a restart.
func answers(ctx context.Context, m *master.Master, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	config := m.RESTConfig()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return false
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/livez/ping", nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}
