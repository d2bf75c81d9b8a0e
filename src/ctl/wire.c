/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol's bytes: frames over a stream socket, requests and answers as JSON. Nothing
 * that a peer sends can crash, block for ever or make us allocate more than CTL_MAX_FRAME (P10). No locks.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/env.h"
#include "ctl/call.h"

#define HEAD_BYTES 8u
#define NS_PER_MS 1000000ull

/* Waits until fd is ready for events; deadline_ns 0: for ever. */
static int wait_ready(int fd, short events, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = events};
		int timeout = -1, n;

		if (deadline_ns) {
			uint64_t now = env_now_ns();

			if (now >= deadline_ns)
				return DFS_ETIMEDOUT;
			timeout = (int)MIN((deadline_ns - now) / NS_PER_MS + 1, 60000u);
		}
		n = poll(&p, 1, timeout);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return DFS_EIO;
	}
}

static uint64_t deadline_after(uint64_t timeout_ms)
{
	return timeout_ms ? env_now_ns() + timeout_ms * NS_PER_MS : 0;
}

static int send_all(int fd, const void *data, size_t len, uint64_t deadline_ns)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		int err;

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return DFS_EGONE;
		err = wait_ready(fd, POLLOUT, deadline_ns);
		if (err)
			return err;
	}
	return 0;
}

/* *ret_len < len only when the peer has closed. */
static int recv_all(int fd, void *data, size_t len, uint64_t deadline_ns, size_t *ret_len)
{
	uint8_t *p = data;
	size_t got = 0;

	while (got < len) {
		ssize_t n = recv(fd, p + got, len - got, MSG_DONTWAIT);
		int err;

		if (n > 0) {
			got += (size_t)n;
			continue;
		}
		if (n == 0)
			break;
		if (errno == EINTR)
			continue;
		if (errno == ECONNRESET)
			break;
		if (errno != EAGAIN)
			return DFS_EIO;
		err = wait_ready(fd, POLLIN, deadline_ns);
		if (err)
			return err;
	}
	*ret_len = got;
	return 0;
}

int wire_send(int fd, const json_t *root, uint64_t timeout_ms)
{
	FREE char *text = json_dumps(root, JSON_COMPACT);
	BUF head = {0};
	uint64_t deadline = deadline_after(timeout_ms);
	size_t len;
	int err;

	if (!text)
		return DFS_EPROTO;
	len = strlen(text);
	if (len > CTL_MAX_FRAME)
		return DFS_E2BIG;
	buf_put_le32(&head, CTL_MAGIC);
	buf_put_le32(&head, (uint32_t)len);
	err = send_all(fd, head.data, head.len, deadline);
	return err ? err : send_all(fd, text, len, deadline);
}

int wire_recv(int fd, struct buf *out, uint64_t timeout_ms)
{
	uint8_t head[HEAD_BYTES];
	struct reader r = reader_of(head, sizeof(head));
	uint64_t deadline = deadline_after(timeout_ms);
	size_t got, len, done = 0;
	int err = recv_all(fd, head, sizeof(head), deadline, &got);

	buf_reset(out);
	if (err)
		return err;
	if (got < sizeof(head))
		return got ? DFS_EGONE : DFS_EEND;
	if (reader_le32(&r) != CTL_MAGIC)
		return DFS_EPROTO;
	len = reader_le32(&r);
	if (len > CTL_MAX_FRAME)
		return DFS_EPROTO;
	/* Memory grows with what has come, not with what was announced. */
	while (done < len) {
		size_t step = MIN(len - done, (size_t)KIB(64));
		void *p = buf_extend(out, step);

		err = recv_all(fd, p, step, deadline, &got);
		if (err)
			return err;
		if (got < step)
			return DFS_EGONE;
		done += step;
	}
	return 0;
}

int ctl_parse_request(const void *data, size_t len, json_t **ret_root, const char **ret_op,
		      json_t **ret_args)
{
	json_t *root, *op, *args;

	if (len > CTL_MAX_FRAME)
		return DFS_EPROTO;
	root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	if (!root)
		return DFS_EPROTO;
	op = json_object_get(root, "op");
	args = json_object_get(root, "args");
	if (!json_is_string(op) || (args && !json_is_object(args))) {
		json_decref(root);
		return DFS_EPROTO;
	}
	if (!args) {
		args = json_object();
		if (!args || json_object_set_new(root, "args", args) != 0) {
			json_decref(root);
			return DFS_EPROTO;
		}
	}
	*ret_root = root;
	*ret_op = json_string_value(op);
	*ret_args = args;
	return 0;
}

json_t *wire_answer_encode(const struct ctl_answer *a)
{
	json_t *root = json_object();

	json_object_set_new(root, "error", json_integer(a->error));
	json_object_set_new(root, "message", ctl_json_text(a->message));
	if (a->warnings)
		json_object_set(root, "warnings", a->warnings);
	if (a->result)
		json_object_set(root, "result", a->result);
	return root;
}

int wire_answer_decode(const void *data, size_t len, struct ctl_answer *a)
{
	json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	json_t *error = json_object_get(root, "error");
	json_t *message = json_object_get(root, "message");
	json_t *warnings = json_object_get(root, "warnings");
	json_t *result = json_object_get(root, "result");
	int err = 0;

	if (json_is_object(root) && !error && json_object_get(root, "progress")) {
		err = 1;
	} else if (!json_is_integer(error) || json_integer_value(error) > 0 ||
		   json_integer_value(error) < -4096 || (message && !json_is_string(message)) ||
		   (warnings && !json_is_array(warnings)) || (result && !json_is_object(result))) {
		err = DFS_EPROTO;
	} else {
		a->error = (int)json_integer_value(error);
		snprintf(a->message, sizeof(a->message), "%s",
			 message ? json_string_value(message) : "");
		a->warnings = json_incref(warnings);
		a->result = json_incref(result);
	}
	json_decref(root);
	return err;
}

void ctl_answer_release(struct ctl_answer *a)
{
	json_decref(a->warnings);
	json_decref(a->result);
	*a = (struct ctl_answer){0};
}
