// Package problems turns the gateway's own errors into problems (RFC 9457), as the services' errors are.
//
// Traefik's errors are plain text. Its middleware for error pages would replace the services' own 429 and 503 too, and
// needs a service that answers; this one recognises the gateway's own errors and needs none.
package problems

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
)

// Config is the configuration of the middleware; it has no options.
type Config struct{}

// CreateConfig returns the default configuration.
func CreateConfig() *Config { return &Config{} }

type problem struct {
	code, title, retryAfter string
	status                  int
}

var problems = map[int]problem{
	// Traefik's service without a server answers 418: it stands for a path that no service has.
	http.StatusTeapot:              {"not_found", "The resource does not exist", "", http.StatusNotFound},
	http.StatusNotFound:            {"not_found", "The resource does not exist", "", http.StatusNotFound},
	http.StatusTooManyRequests:     {"rate_limited", "Too many requests in a short time", "1", http.StatusTooManyRequests},
	http.StatusInternalServerError: {"internal_error", "An unexpected error occurred on our side", "", http.StatusInternalServerError},
	http.StatusBadGateway:          {"service_unreachable", "The service is unreachable", "2", http.StatusBadGateway},
	http.StatusServiceUnavailable:  {"service_unavailable", "The service is temporarily unavailable", "2", http.StatusServiceUnavailable},
	http.StatusGatewayTimeout:      {"service_too_slow", "The service did not respond in time", "", http.StatusGatewayTimeout},
}

type middleware struct{ next http.Handler }

// New creates the middleware.
func New(_ context.Context, next http.Handler, _ *Config, _ string) (http.Handler, error) {
	return &middleware{next: next}, nil
}

func (m *middleware) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	m.next.ServeHTTP(&writer{ResponseWriter: rw, path: req.URL.EscapedPath(), requestID: req.Header.Get("X-Request-Id")}, req)
}

type writer struct {
	http.ResponseWriter
	path, requestID string
	begun, replaced bool
}

// WriteHeader replaces an error of the gateway. Every response of a service has an X-Request-Id.
func (w *writer) WriteHeader(status int) {
	found, known := problems[status]
	fromService := w.Header().Get("X-Request-Id") != ""
	if w.begun || !known || fromService {
		w.begun = w.begun || status >= 200
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.begun, w.replaced = true, true
	content := map[string]any{
		"type": "urn:orderly:problem:" + found.code, "title": found.title, "status": found.status,
		"code": found.code, "instance": w.path,
	}
	if w.requestID != "" {
		content["request_id"] = w.requestID
	}
	body, _ := json.Marshal(content)
	header := w.Header()
	header.Del("Content-Length")
	header.Set("Content-Type", "application/problem+json")
	if found.retryAfter != "" && header.Get("Retry-After") == "" {
		header.Set("Retry-After", found.retryAfter)
	}
	w.ResponseWriter.WriteHeader(found.status)
	_, _ = w.ResponseWriter.Write(body)
}

// Write drops the text of an error that was replaced.
func (w *writer) Write(body []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.replaced {
		return len(body), nil
	}
	written, err := w.ResponseWriter.Write(body)
	// Traefik cannot flush through a writer that is interpreted, and would delay server-sent events.
	if flusher, ok := w.ResponseWriter.(http.Flusher); ok && w.streams() {
		flusher.Flush()
	}
	return written, err
}

func (w *writer) streams() bool {
	return strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream")
}
