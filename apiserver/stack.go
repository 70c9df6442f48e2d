package apiserver

import "runtime"

// stackSpace is about what the deepest requests (decoding and judging a pod) need.
const stackSpace = 20 << 10

// reserveStack makes the goroutine's stack large enough at once. Every HTTP/2 stream is a new goroutine with a small
// stack, which would otherwise be copied several times, ever deeper: that was a tenth of the cost of creating a pod.
//
//go:noinline
func reserveStack() {
	var space [stackSpace]byte
	runtime.KeepAlive(&space)
}
