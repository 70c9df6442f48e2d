package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// lastFlush is how long the last bytes of an answer may take from its handler's end to the connection.
const lastFlush = 20 * time.Millisecond

// drainTime is how long a server that stops waits for the requests that it has taken on.
const drainTime = 10 * time.Second

// Stop ends the watches. Serve calls it when it ends; in-process users may call it themselves.
func (s *Server) Stop() { s.stop() }

// Serve answers requests that come in at the listener until ctx ends, over TLS unless config is nil. Then it takes no new
// connections, ends watches, and returns when the requests at work have been answered.
func (s *Server) Serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreamsPerClient,
			MaxReadFrameSize:              256 << 10,
			MaxReceiveBufferPerStream:     256 << 10,
			MaxReceiveBufferPerConnection: 4 << 20,
		},
	}
	door := newDoor(l, s.MaxConnections)
	server.ConnContext = visitorContext
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(config != nil)
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		s.Stop()
		stopped <- s.drain(server)
	})
	var err error
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{"h2", "http/1.1"}
		server.TLSConfig = config
		err = server.ServeTLS(door, "", "")
	} else {
		err = server.Serve(door)
	}
	if !stop() { // it stops already, which is why the listener ended: what draining says counts
		return <-stopped
	}
	return err
}

// drain lets the requests at work be answered. The library would wait a second longer for every HTTP/2 connection, even an idle one.
func (s *Server) drain(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- server.Shutdown(ctx) }()
	idle := time.NewTicker(lastFlush)
	defer idle.Stop()
	for quiet := 0; quiet < 2; {
		select {
		case err := <-done:
			if errors.Is(err, context.DeadlineExceeded) {
				return server.Close()
			}
			return err
		case <-idle.C:
			quiet++
			if s.active.Load() > 0 {
				quiet = 0
			}
		}
	}
	err := server.Close() // which lets Shutdown end, too
	<-done
	return err
}
