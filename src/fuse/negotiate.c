/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One feature that libfuse before 3.17 can't ask for: FUSE_HANDLE_KILLPRIV_V2. With it the kernel
 * remembers that a file has no capabilities; without, it asks for "security.capability" before each
 * write(), which doubles the cost of small writes. So the bytes of the first request and its reply
 * are looked at on their way: was it offered, and then it is asked for. All else passes unchanged.
 *
 * What we take on in exchange: to clear setuid and setgid where the kernel did, see ops_kill_suid.
 * Locks: none; the two flags are atomics, and only the first request and its reply change them.
 */
#include "fuse/ops.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2

int negotiate_install(struct fuse_session *fuse)
{
	(void)fuse;
	return 0;
}

void negotiate_init(struct fuse_state *st, struct fuse_conn_info *conn)
{
	st->kill_suid = (conn->capable & FUSE_CAP_HANDLE_KILLPRIV_V2) != 0;
	if (st->kill_suid)
		conn->want |= FUSE_CAP_HANDLE_KILLPRIV_V2;
}

#else

/* The first request of a connection is FUSE_INIT. */
static void look_at_init(struct fuse_state *st, const void *data, size_t len)
{
	struct fuse_in_header head;
	struct fuse_init_in init = {0};

	if (len < sizeof(head))
		return;
	memcpy(&head, data, sizeof(head));
	if (head.opcode != FUSE_INIT)
		return;
	memcpy(&init, (const char *)data + sizeof(head), MIN(sizeof(init), len - sizeof(head)));
	st->kill_suid = init.major == FUSE_KERNEL_VERSION && init.minor >= 33 &&
			(init.flags & FUSE_HANDLE_KILLPRIV_V2);
}

static ssize_t pass_read(int fd, void *buf, size_t len, void *userdata)
{
	struct fuse_state *st = userdata;
	ssize_t n = read(fd, buf, len);

	if (n > 0 && !__atomic_load_n(&st->init_seen, __ATOMIC_RELAXED)) {
		look_at_init(st, buf, (size_t)n);
		__atomic_store_n(&st->init_seen, true, __ATOMIC_RELAXED);
	}
	return n;
}

/* The reply to FUSE_INIT is the first reply. */
static void change_init_reply(struct fuse_state *st, struct iovec *iov, int count)
{
	struct fuse_init_out *out;

	if (__atomic_exchange_n(&st->init_answered, true, __ATOMIC_RELAXED))
		return;
	if (count != 2 || iov[1].iov_len < offsetof(struct fuse_init_out, max_background))
		st->kill_suid = false;
	if (!st->kill_suid)
		return;
	out = iov[1].iov_base;
	out->flags |= FUSE_HANDLE_KILLPRIV_V2;
}

static ssize_t pass_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fuse_state *st = userdata;

	if (!__atomic_load_n(&st->init_answered, __ATOMIC_RELAXED))
		change_init_reply(st, iov, count);
	return writev(fd, iov, count);
}

int negotiate_install(struct fuse_session *fuse)
{
	static const struct fuse_custom_io io = {.read = pass_read, .writev = pass_writev};

	return fuse_session_custom_io(fuse, &io, fuse_session_fd(fuse));
}

void negotiate_init(struct fuse_state *st, struct fuse_conn_info *conn)
{
	(void)st;
	(void)conn;
}

#endif
