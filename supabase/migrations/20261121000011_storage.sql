-- The bucket for files that arrive. Private; one that was made public by hand stays as it is, old links lead there.
do $$
begin
  if to_regclass('storage.buckets') is not null then
    insert into storage.buckets (id, name, public) values ('chat-media', 'chat-media', false) on conflict do nothing;
  end if;
end
$$;
