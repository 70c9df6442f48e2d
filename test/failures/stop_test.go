package failures

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// TestStop stops a master cleanly under open watches, and keeps a second one off its folder meanwhile.
func TestStop(t *testing.T) {
	const stopMax = 5 * time.Second
	dir := t.TempDir() + "/data"
	server, err := process.Start(binary, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()

	second, err := process.Run(binary, patience, "server", "--data-dir", dir, "--bind-address", "127.0.0.1", "--secure-port", "0")
	if err != nil {
		t.Fatal(err)
	}
	if second.Code != 1 || strings.Count(second.Stderr, "\n") != 1 || !strings.Contains(second.Stderr, "another process runs on the data folder "+dir) {
		t.Errorf("the second process ended with code %d and said:\n%s", second.Code, second.Stderr)
	}

	config, err := server.Config()
	if err != nil {
		t.Fatal(err)
	}
	clients := connect(t, config)
	const watches = 20
	closed := make(chan struct{}, watches)
	for range watches {
		stream, err := clients.CoreV1().ConfigMaps("").Watch(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range stream.ResultChan() {
			}
			closed <- struct{}{}
		}()
	}
	code, err := server.Stop(stopMax)
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Errorf("exit code %d:\n%s", code, server.Log)
	}
	for range watches {
		select {
		case <-closed:
		case <-time.After(patience):
			t.Fatal("a watch was left open")
		}
	}
	if server, err = process.Start(binary, dir, 0); err != nil {
		t.Fatalf("after the second process and the stop: %v", err)
	}
	server.Kill()
}
