-- The bucket for received files. It is private; a bucket that was made public stays public, because
-- old links lead there.
do $$
begin
  if to_regclass('storage.buckets') is not null then
    insert into storage.buckets (id, name, public) values ('chat-media', 'chat-media', false)
    on conflict do nothing;
  end if;
end
$$;
