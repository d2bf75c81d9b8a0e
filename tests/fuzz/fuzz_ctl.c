/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket, both ends: a frame off a socket, a request, its arguments and paths, an answer.
 * Input: the bytes that a peer sends. Whatever path or answer is taken can be sent again and is
 * then the same.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "ctl/call.h"

/* Other functions of ctl/result.c want these; the ones called here don't. */
const char *disk_state_name(enum disk_state s)
{
	(void)s;
	abort();
}

bool pool_disk_status(struct pool *p, unsigned i, struct pool_disk_status *ret_status)
{
	(void)p;
	(void)i;
	(void)ret_status;
	abort();
}

static void check_path(const char *path)
{
	json_t *j = ctl_json_path(path), *text = ctl_json_text(path);
	FREE char *back = ctl_path_from_json(j);

	REQUIRE(json_is_string(text)); /* any bytes can be shown */
	if (*path) {
		REQUIRE(back);
		REQUIRE(strcmp(back, path) == 0);
	}
	json_decref(j);
	json_decref(text);
}

static void check_request(const uint8_t *data, size_t len)
{
	struct ctl_call c = {0};
	json_t *root, *value;
	const char *op, *key;

	if (ctl_parse_request(data, len, &root, &op, &c.args))
		return;
	REQUIRE(op && json_is_object(c.args));
	json_object_foreach(c.args, key, value) {
		FREE char *path = ctl_path_from_json(value);

		if (path)
			check_path(path);
		(void)arg_text(&c, key);
		(void)arg_u64(&c, key, 1);
		(void)arg_bool(&c, key, true);
	}
	json_decref(root);
}

static void check_answer(const uint8_t *data, size_t len)
{
	struct ctl_answer a = {0}, b = {0};
	FREE char *text = NULL;
	json_t *root;

	if (wire_answer_decode(data, len, &a))
		return;
	REQUIRE(a.error <= 0 && memchr(a.message, 0, sizeof(a.message)));
	root = wire_answer_encode(&a);
	text = json_dumps(root, JSON_COMPACT);
	REQUIRE(text);
	REQUIRE(wire_answer_decode(text, strlen(text), &b) == 0);
	REQUIRE(a.error == b.error && json_equal(a.result, b.result) == (a.result != NULL));
	json_decref(root);
	ctl_answer_release(&a);
	ctl_answer_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FREE char *path = xcalloc(1, size + 1);
	BUF frame = {0};
	int fds[2];

	memcpy(path, data, size);
	check_path(path);
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	REQUIRE(send(fds[0], data, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size);
	REQUIRE(shutdown(fds[0], SHUT_WR) == 0);
	while (wire_recv(fds[1], &frame, 1000) == 0) {
		REQUIRE(frame.len <= size);
		check_request(frame.data, frame.len);
		check_answer(frame.data, frame.len);
	}
	close(fds[0]);
	close(fds[1]);
	return 0;
}

/* Frames that are announced as long as they are. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size_t at = 0;

	size = LLVMFuzzerMutate(data, size, max_size);
	if (seed % 8 == 0)
		return size;
	while (size - at >= 8) {
		uint32_t len = fuzz_get32(data + at + 4);

		fuzz_put32(data + at, CTL_MAGIC);
		if (len > size - at - 8) {
			len = (uint32_t)(size - at - 8);
			fuzz_put32(data + at + 4, len);
		}
		at += 8 + len;
	}
	return size;
}
