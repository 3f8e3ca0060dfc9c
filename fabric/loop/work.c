#include "fabric/loop/work.h"
#include "fabric/loop/inner.h"

static struct fab_work *of_task(struct fab_task *task)
{
    return (struct fab_work *)(void *)((char *)task - offsetof(struct fab_work, task));
}

static struct fab_work *of_post(struct fab_post *post)
{
    return (struct fab_work *)(void *)((char *)post - offsetof(struct fab_work, post));
}

static void on_done(struct fab_post *post)
{
    struct fab_work *work = of_post(post);
    work->loop->working--;
    work->done(work);
}

static void on_run(struct fab_task *task)
{
    struct fab_work *work = of_task(task);
    work->run(work);
    fab_loop_post(work->loop, &work->post);
}

void fab_work_start(struct fab_work *work, struct fab_loop *loop, struct fab_pool *pool)
{
    work->loop = loop;
    work->task.run = on_run;
    work->post.run = on_done;
    loop->working++;
    fab_pool_submit(pool, &work->task);
}
